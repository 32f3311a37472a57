// One sample: its text or picture, what each step made of it, and those that it is to be seen beside.

import { get, picture } from "./api.js";
import { count, el, figure, marked, shortened, svg } from "./dom.js";
import { at, markOf, rowAt } from "./list.js";
import { isOpen, open } from "./panel.js";
import { on, state, tell } from "./state.js";

let index = -1;
let row = -1;

async function show(asked, place, how = {}) {
  row = asked;
  index = place ?? -1;
  const sample = await get("sample", { row });
  if (row !== asked) return; // another was opened meanwhile
  const again = (more) => show(asked, place, more);
  const panel = open(
    "Sample",
    again,
    how,
    el("div", { class: "moves" }, move(-1, "← previous"), move(1, "next →")),
    el("h3", { class: "key" }, sample.key),
    el("p", { class: "badges" }, verdict(sample), markOf(sample.mark)),
    marking(sample),
    seen(sample),
    sample.text ? el("div", { class: "whole" }, ...marked(sample.text), sample.cut ? " …" : "") : "",
    sample.captions.length > 1 ? el("ul", {}, ...sample.captions.map((one) => el("li", {}, one))) : "",
    sample.steps.length ? el("h3", {}, state.about.others.length ? `Decisions of ${state.about.run}` : "Decision of each step") : "",
    el("ol", { class: "steps" }, ...sample.steps.map(step)),
    ...sample.elsewhere.map(elsewhere),
    ...sample.beside.map((other) => beside(other, sample)),
    table("Fields", { id: sample.id, from: sample.place, bytes: sample.bytes, ...(sample.image ? { pixels: `${sample.width} x ${sample.height}` } : {}), ...sample.fields }),
    Object.keys(sample.values).length ? el("details", {}, el("summary", {}, "Columns"), table("", sample.values)) : "",
  );
  panel.focus({ preventScroll: true });
}

function verdict(sample) {
  if (sample.selected === null) return null;
  const last = sample.steps.at(-1);
  return el("span", { class: `badge ${sample.selected ? "kept" : "dropped"}` }, sample.selected ? "selected" : `dropped: ${last?.reason ?? "not chosen"}`);
}

function move(by, label) {
  const go = async () => {
    const next = await rowAt(index + by);
    if (next) {
      at(index + by);
      show(next.row, index + by, { instead: true });
    }
  };
  return el("button", { class: "quiet", disabled: index < 0 || index + by < 0, onclick: go }, label);
}

function marking(sample) {
  const mark = sample.mark ?? { mark: "none", label: "", note: "" };
  const is = mark.mark !== "none";
  const wrong = el("button", { "aria-pressed": String(is), onclick: () => tell("mark", [sample.row], { mark: is ? "none" : "wrong" }) }, sample.selected ? "Wrong keep" : "Wrong drop");
  const label = el("input", { type: "text", placeholder: "its right label", "aria-label": "Its right label", value: mark.label, maxlength: 200 });
  const note = el("input", { type: "text", placeholder: "a note", "aria-label": "Note", value: mark.note, maxlength: 2000 });
  label.addEventListener("change", () => tell("mark", [sample.row], { label: label.value }));
  note.addEventListener("change", () => tell("mark", [sample.row], { note: note.value }));
  return el("div", { class: "marking" }, sample.selected === null ? "" : wrong, label, note);
}

function seen(sample) {
  if (!sample.image) return "";
  const image = el("img", { src: picture({ row: sample.row }, 1024), alt: `the picture of ${sample.key}` });
  const boxes = sample.boxes.map((one) => {
    const [x1, y1, x2, y2] = one.box;
    const wide = Math.max(sample.width, sample.height) / 300;
    return svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, stroke: one.colour, "stroke-width": wide, fill: "none" }, svg("title", {}, `${one.class} ${figure(one.confidence)}`));
  });
  const over = svg("svg", { viewBox: `0 0 ${sample.width} ${sample.height}`, class: "boxes", "aria-hidden": "true" }, ...boxes);
  const classes = {};
  for (const one of sample.boxes) (classes[one.class] ??= { colour: one.colour, n: 0 }).n += 1;
  const legend = Object.entries(classes).map(([name, one]) => el("span", { class: "chip" }, el("i", { style: { background: one.colour } }), `${name}${one.n > 1 ? ` × ${one.n}` : ""}`));
  return el("figure", {}, el("div", { class: "picture" }, image, over), legend.length ? el("figcaption", {}, ...legend) : "");
}

function step(told) {
  return el(
    "li", { class: told.kept ? "kept" : "dropped" },
    el("b", {}, told.selector), " ", el("span", { class: `badge ${told.kept ? "kept" : "dropped"}` }, told.kept ? "kept" : "dropped"),
    ` ${told.reason}`, told.meaning ? el("span", { class: "hint" }, ` (${told.meaning})`) : "",
    ...told.lines.map((line) => el("div", { class: "line" }, line)),
  );
}

function beside(other, sample) {
  const told = other.cosine === null ? other.title : `${other.title}, cosine ${other.cosine.toFixed(3)}`;
  const words = other.differences.length
    ? other.differences.map(([kind, text]) => [el({ same: "span", mine: "del", other: "ins" }[kind], {}, text), " "])
    : shortened(other.text, 1200);
  const image = other.image ? el("img", { src: picture({ id: other.id }, 192), alt: `the picture of ${other.key}` }) : "";
  const mine = other.image && sample.image ? el("img", { src: picture({ row: sample.row }, 192), alt: "this sample's picture" }) : "";
  const name = shortened(other.key, 80);
  const there = other.row === null ? el("span", { class: "key" }, name) : el("button", { class: "quiet key", onclick: () => tell("open", other.row) }, name);
  const became = other.became ? el("span", { class: `badge ${other.became === "kept" ? "kept" : "dropped"}` }, other.became === "kept" ? "kept in the end" : `dropped in the end: ${other.became}`) : "";
  const legend = other.differences.some(([kind]) => kind !== "same") ? el("p", { class: "hint" }, el("del", {}, "only in this sample"), " ", el("ins", {}, "only in the other")) : "";
  return el("div", { class: "beside" }, el("h3", {}, told), el("p", {}, there, " ", became), image ? el("div", { class: "pair" }, mine, image) : "", legend, other.text ? el("div", { class: "whole small" }, ...[words].flat(2)) : "");
}

function elsewhere(told) {
  if (told.reason === undefined) return el("p", {}, el("b", {}, told.run), ": does not know this sample");
  return el("p", {}, el("b", {}, told.run), ": ", el("span", { class: `badge ${told.kept ? "kept" : "dropped"}` }, told.kept ? "kept" : "dropped"), ` by ${told.selector}, ${told.reason}`);
}

function table(title, values) {
  const rows = Object.entries(values).map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, typeof value === "number" ? (Number.isInteger(value) && name === "bytes" ? count(value) : figure(value)) : value === null ? "∅" : String(value))),
  );
  return el("div", {}, title ? el("h3", {}, title) : "", el("table", {}, ...rows));
}

on("open", (asked, place) => show(asked, place).catch((error) => tell("said", error.message)));
on("marked", (rows) => {
  if (isOpen("Sample") && rows.includes(row)) show(row, index, { instead: true });
});

export const opened = () => (isOpen("Sample") ? row : null);
