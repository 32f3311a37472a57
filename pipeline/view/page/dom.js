// Elements from plain values. Text goes in as text, whatever it holds; nothing here makes markup of a string.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);
export const count = (number) => number.toLocaleString("en");

export function figure(number) {
  if (number === null || number === undefined) return "∅";
  if (number === 0) return "0"; // and not -0
  return Number.isInteger(number) ? count(number) : String(Number(number.toPrecision(5)));
}

let looked = null; // a pattern of the words that are searched for

export function lookFor(words) {
  const parts = [...words.matchAll(/"([^"]+)"?|(\S+)/g)].map((found) => (found[1] ?? found[2]).replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  looked = parts.length ? new RegExp(`(${parts.join("|")})`, "giu") : null;
}

// The text in parts, of which those that were searched for stand out.
export function marked(text) {
  return looked ? text.split(looked).map((part, i) => (i % 2 ? el("mark", {}, part) : part)) : [text];
}

export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

export function copied(text) {
  const button = el("button", { class: "quiet" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return button;
}
