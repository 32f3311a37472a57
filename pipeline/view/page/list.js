// Samples one under the other, or side by side, of which only those in sight are in the page.
//
// The bar's height has a limit in browsers, so a million rows scroll by a scale of their own: what counts is the place
// in rows, and the bar follows it.

import { get, picture } from "./api.js";
import { byId, el, figure, marked, shortened } from "./dom.js";
import { on, state, tell } from "./state.js";

const PAGE = 100;
const HIGHEST = 6e6; // pixels of the bar's inner height
const SIZES = { list: 76, grid: 214 };
const CELL = 180;

const list = byId("list");
const spacer = el("div", { class: "spacer" });
const sight = el("div", { class: "sight" });
list.append(spacer, sight);

let place = 0; // the first line in sight, in lines
let active = 0; // index of the sample that keys move from
let pages = new Map();
let shown = new Map(); // index -> element
let ours = false; // whether we moved the bar

const size = () => SIZES[state.shownAs] ?? SIZES.list;
const across = () => (state.shownAs === "grid" ? Math.max(1, Math.floor(list.clientWidth / CELL)) : 1);
const total = () => state.answer?.matching ?? 0;
const lines = () => Math.ceil(total() / across());
const fits = () => list.clientHeight / size();
const last = () => Math.max(0, lines() - fits());

function layout() {
  const wanted = Math.min(HIGHEST, Math.max(lines() * size(), list.clientHeight));
  spacer.style.height = `${wanted}px`;
  sight.style.height = `${list.clientHeight}px`;
  place = Math.min(place, last());
  follow();
  render();
}

function follow() {
  const room = list.scrollHeight - list.clientHeight;
  const wanted = last() ? (room * place) / last() : 0;
  if (Math.abs(list.scrollTop - wanted) > 1) {
    ours = true;
    list.scrollTop = wanted;
  }
}

list.addEventListener("scroll", () => {
  if (ours) {
    ours = false;
    return;
  }
  const room = list.scrollHeight - list.clientHeight;
  place = room > 0 ? (last() * list.scrollTop) / room : 0;
  render();
});

list.addEventListener(
  "wheel",
  (event) => {
    if (lines() * size() <= HIGHEST) return; // the bar's own scale is that of the rows
    event.preventDefault();
    place = Math.min(last(), Math.max(0, place + event.deltaY / size()));
    follow();
    render();
  },
  { passive: false },
);

function render() {
  const n = across();
  const first = Math.max(0, Math.floor(place) - 2) * n;
  const end = Math.min(total(), Math.ceil(place + fits() + 2) * n);
  for (const [index, node] of shown) {
    if (index < first || index >= end) {
      node.remove();
      shown.delete(index);
    }
  }
  for (let index = first; index < end; index++) {
    let node = shown.get(index);
    if (!node) {
      node = made(index);
      shown.set(index, node);
      sight.append(node);
    }
    const top = (Math.floor(index / n) - place) * size();
    node.style.transform = `translate(${(index % n) * (list.clientWidth / n)}px, ${top}px)`;
    node.style.width = `${list.clientWidth / n}px`;
    node.style.height = `${size()}px`;
  }
  if (!total() && state.answer) sight.replaceChildren(el("p", { class: "none" }, "Nothing matches these filters."));
}

function page(number) {
  if (!pages.has(number)) {
    const asked = get("rows", { view: state.answer.number, from: number * PAGE, to: (number + 1) * PAGE, sort: state.sort });
    pages.set(number, asked.then((found) => found.rows));
    asked.catch((error) => tell("said", error.message));
  }
  return pages.get(number);
}

function made(index) {
  const node = el("div", { class: `row ${state.shownAs}`, role: "option", id: `at-${index}`, "aria-setsize": total(), "aria-posinset": index + 1 });
  node.classList.toggle("active", index === active);
  node.addEventListener("click", async () => {
    at(index);
    const row = await rowAt(index);
    if (row) tell("open", row.row, index);
  });
  const mine = pages;
  page(Math.floor(index / PAGE)).then(
    (rows) => {
      if (mine === pages && rows[index % PAGE]) fill(node, rows[index % PAGE], index);
    },
    () => {},
  );
  return node;
}

export const badge = (row) =>
  row.kept === undefined ? null : el("span", { class: `badge ${row.kept ? "kept" : "dropped"}` }, row.kept ? "kept" : row.reason);

export const markOf = (mark) =>
  mark && el("span", { class: "badge marked", title: mark.note }, { wrong_drop: "wrong drop", wrong_keep: "wrong keep" }[mark.mark] ?? (mark.label || "note"));

function fill(node, row, index) {
  const seen = row.image ? el("img", { alt: "", src: picture({ row: row.row }, state.shownAs === "grid" ? 192 : 96) }) : null;
  seen?.addEventListener("error", () => seen.replaceWith(el("span", { class: "gone" }, "image gone")));
  const tick = el("input", { type: "checkbox", tabindex: -1, "aria-label": `select ${shortened(row.key, 60)}` });
  tick.checked = state.chosen.has(row.row);
  node.setAttribute("aria-selected", String(tick.checked));
  tick.addEventListener("click", (event) => {
    event.stopPropagation();
    choose(row.row, tick.checked, index, event.shiftKey);
  });
  const value = row.value === undefined ? null : el("span", { class: "n value" }, typeof row.value === "string" ? shortened(row.value, 40) : figure(row.value));
  const head = el("div", { class: "head" }, el("span", { class: "key" }, shortened(row.key, 120)), badge(row), markOf(row.mark), value);
  node.dataset.row = row.row;
  node.replaceChildren(tick, seen ?? "", el("div", { class: "told" }, head, el("div", { class: "text" }, ...marked(row.text))));
}

let lastChosen = 0;

async function choose(row, is, index, upTo) {
  const [from, to] = upTo ? [Math.min(lastChosen, index), Math.max(lastChosen, index)] : [index, index];
  lastChosen = index;
  for (let one = from; one <= to; one++) {
    const mine = (await page(Math.floor(one / PAGE)))[one % PAGE];
    if (!mine) continue;
    if (is) state.chosen.add(mine.row);
    else state.chosen.delete(mine.row);
    const tick = shown.get(one)?.querySelector("input");
    if (tick) tick.checked = is;
    shown.get(one)?.setAttribute("aria-selected", String(is));
  }
  tell("chosen");
}

export function at(index) {
  shown.get(active)?.classList.remove("active");
  active = Math.min(Math.max(0, index), Math.max(0, total() - 1));
  const line = Math.floor(active / across());
  if (line < place) place = line;
  if (line > place + fits() - 1) place = Math.min(last(), line - fits() + 1);
  follow();
  render();
  shown.get(active)?.classList.add("active");
  list.setAttribute("aria-activedescendant", `at-${active}`);
}

export async function rowAt(index) {
  return index < 0 || index >= total() ? null : (await page(Math.floor(index / PAGE)))[index % PAGE];
}

list.addEventListener("keydown", async (event) => {
  const n = across();
  const by = { ArrowDown: n, ArrowUp: -n, PageDown: n * Math.floor(fits()), PageUp: -n * Math.floor(fits()), Home: -Infinity, End: Infinity };
  if (n > 1) Object.assign(by, { ArrowRight: 1, ArrowLeft: -1 });
  if (event.key in by) {
    event.preventDefault();
    at(active + by[event.key] === Infinity ? total() - 1 : Math.max(0, active + by[event.key]));
  } else if (event.key === "Enter") {
    const row = await rowAt(active);
    if (row) tell("open", row.row, active);
  } else if (event.key === " ") {
    event.preventDefault();
    const row = await rowAt(active);
    if (row) choose(row.row, !state.chosen.has(row.row), active, event.shiftKey);
  }
});

export const activeRow = () => rowAt(active);

function anew(keep) {
  pages = new Map();
  for (const node of shown.values()) node.remove();
  shown = new Map();
  sight.replaceChildren();
  if (!keep) place = active = 0;
  layout();
}

on("answer", () => anew(false));
on("marked", () => anew(true));
on("shown", () => anew(false));
on("unchosen", () => anew(true));
new ResizeObserver(layout).observe(list);
