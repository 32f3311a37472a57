// The page: asks, tells who shows, and keeps the keys.

import { get, newest, post } from "./api.js";
import * as charts from "./charts.js";
import { byId, count, el, figure, shortened } from "./dom.js";
import "./list.js";
import * as map from "./map.js";
import * as marks from "./marks.js";
import * as panel from "./panel.js";
import "./sample.js";
import { ask, clear, filter, on, state, tell } from "./state.js";
import * as whatIf from "./whatif.js";

const say = (text) => (byId("said").textContent = text);
on("said", say);

const refresh = newest(async () => {
  const began = performance.now();
  try {
    state.answer = await post("ask", ask());
  } catch (error) {
    return void say(error.message);
  }
  tell("answer");
  const { matching, kept, rows } = state.answer;
  const decided = state.about.steps.length || state.about.run ? `, ${count(kept)} of them kept` : "";
  say(`${count(matching)} of ${count(rows)} samples${decided}`);
  const now = performance.now();
  const { dataset } = byId("said"); // for bench/view.py: what took how long, by this clock
  dataset.ms = Math.round(now - began);
  dataset.at ??= Math.round(now);
  dataset.asked = Number(dataset.asked ?? 0) + 1;
  named();
});
on("ask", refresh);

function named() {
  const chip = (text, away) => el("button", { class: "chip", title: "take this filter away", onclick: away }, text, " ×");
  const told = Object.entries(state.fields).map(([name, one]) => {
    const span = one.words ? shortened(one.words.join(" or "), 50) : `${one.least === null ? "…" : figure(one.least)} to ${one.most === null ? "…" : figure(one.most)}`;
    return chip(`${name}: ${span}`, () => filter(name, null));
  });
  const off = (changes, id) => () => {
    Object.assign(state, changes);
    if (id) byId(id).value = "";
    tell("ask");
  };
  if (state.words) told.push(chip(`words: ${shortened(state.words, 40)}`, off({ words: "" }, "words")));
  if (state.condition) told.push(chip(shortened(state.condition, 60), off({ condition: "" }, "condition")));
  if (state.lasso.length) told.push(chip("lasso", off({ lasso: [] })));
  if (state.marked) told.push(chip("marked", off({ marked: false })));
  if (told.length > 1) told.push(el("button", { class: "quiet", onclick: clear }, "Clear all"));
  byId("filters").replaceChildren(...told);
}

on("cleared", () => {
  for (const id of ["words", "condition"]) byId(id).value = "";
});

function begin(about) {
  Object.assign(state, { about, charts: about.charts, sort: about.sort, fields: {}, lasso: [], answer: null });
  state.chosen.clear();
  document.title = `${about.name} — tamis view`;
  const runs = byId("runs");
  const names = about.run ? about.runs : [about.name, ...about.runs];
  runs.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  runs.value = about.name;
  byId("others").textContent = about.others.length ? `beside ${about.others.join(", ")}` : "";
  const sorts = [about.run ? "rank" : "pool", "key", ...about.fields.map((field) => field.name)];
  byId("sort").replaceChildren(...sorts.map((name) => el("option", { value: name }, name)));
  byId("sort").value = about.sort === "rank" && !about.run ? "pool" : about.sort;
  byId("what-if").hidden = !about.run;
  const rejects = Object.values(about.rejects).reduce((sum, one) => sum + one, 0);
  byId("rejects").hidden = !rejects;
  byId("rejects").textContent = `Rejects (${count(rejects)})`;
  charts.show();
  tell("about");
  shownAs(about.images ? "grid" : "list");
  refresh();
}

function shownAs(what) {
  state.shownAs = what;
  for (const one of ["list", "grid", "map"]) byId(`as-${one}`).setAttribute("aria-pressed", String(one === what));
  byId("list").hidden = what === "map";
  byId("map").hidden = what !== "map";
  if (what === "map") map.show().catch((error) => say(error.message));
  else if (state.answer) tell("shown");
}

async function rejects() {
  const found = await get("rejects");
  const counts = Object.entries(found.counts).map(([reason, n]) => el("span", { class: "chip" }, `${reason} ${count(n)}`));
  const rows = found.rows.map((row) => el("tr", {}, el("td", {}, row.reason), el("td", { class: "key" }, `${row.source}${row.position === null ? "" : `:${row.position}`}`), el("td", {}, row.detail ?? "")));
  panel.open("Rejects", el("p", {}, "Rows of the sources that are no samples. ", ...counts), el("table", { class: "rejects" }, ...rows));
}

const KEYS = [
  ["/", "search"], ["arrows, Page, Home, End", "move through the samples"], ["Enter", "open one"], ["Space", "select (with Shift up to here)"],
  ["m", "mark as wrong: a wrong drop, or a wrong keep"], ["Esc", "close the panel"], ["l g p", "list, grid, map"], ["w", "what if"],
];

function keys() {
  panel.open("Keys", el("table", {}, ...KEYS.map(([key, does]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, does)))));
}

let late;
for (const id of ["words", "condition"]) {
  const input = byId(id);
  const take = () => {
    clearTimeout(late);
    if (state[id] === input.value.trim()) return;
    state[id] = input.value.trim();
    tell("ask");
  };
  input.addEventListener("change", take);
  if (id === "words") input.addEventListener("input", () => {
    clearTimeout(late);
    late = setTimeout(take, 300);
  });
}
byId("asking").addEventListener("submit", (event) => {
  event.preventDefault();
  document.activeElement?.dispatchEvent(new Event("change"));
});
byId("sort").addEventListener("change", () => {
  state.sort = byId("sort").value;
  tell("ask");
});
byId("direction").addEventListener("click", () => {
  state.down = !state.down;
  byId("direction").textContent = state.down ? "↓" : "↑";
  byId("direction").setAttribute("aria-label", state.down ? "Direction: highest first" : "Direction: lowest first");
  tell("ask");
});
byId("runs").addEventListener("change", async () => {
  say("reading…");
  try {
    begin(await post("open", { run: byId("runs").value }));
  } catch (error) {
    say(error.message);
  }
});
byId("show-charts").addEventListener("click", () => {
  const is = document.body.classList.toggle("with-charts");
  byId("show-charts").setAttribute("aria-expanded", String(is));
});
for (const one of ["list", "grid", "map"]) byId(`as-${one}`).addEventListener("click", () => shownAs(one));
byId("what-if").addEventListener("click", () => whatIf.show().catch((error) => say(error.message)));
byId("marks").addEventListener("click", marks.show);
byId("rejects").addEventListener("click", () => rejects().catch((error) => say(error.message)));
byId("help").addEventListener("click", keys);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return panel.close();
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { "/": () => byId("words").focus(), l: () => shownAs("list"), g: () => shownAs("grid"), p: () => shownAs("map"), w: () => byId("what-if").click(), "?": keys }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

get("about").then(begin, (error) => say(error.message));
