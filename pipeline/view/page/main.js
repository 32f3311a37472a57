// The page: asks, tells who shows, and keeps the keys.

import { about as lookAt, get, link, linked, newest, post } from "./api.js";
import * as charts from "./charts.js";
import { byId, count, el, figure, lookFor, shortened } from "./dom.js";
import { activeRow } from "./list.js";
import * as map from "./map.js";
import * as marks from "./marks.js";
import * as panel from "./panel.js";
import * as nights from "./nights.js";
import { opened } from "./sample.js";
import { ask, clear, filter, on, state, tell } from "./state.js";
import * as whatIf from "./whatif.js";

// What went wrong stands in a line of its own until the next answer; what was done, for a moment behind the counts.
const say = (text) => (byId("wrong").textContent = text);
on("said", say);
on("did", (text) => {
  byId("did").textContent = text;
  setTimeout(() => (byId("did").textContent = ""), 4000);
});

const refresh = newest(async () => {
  const began = performance.now();
  try {
    state.answer = await post("ask", ask());
    byId("condition").removeAttribute("aria-invalid");
  } catch (error) {
    if (error.message.startsWith("condition")) byId("condition").setAttribute("aria-invalid", "true");
    return void say(error.message);
  }
  say("");
  lookFor(state.words);
  tell("answer");
  const { charts: _, ...asked } = ask();
  const plain = { words: "", condition: "", lasso: [], marked: false, by_share: false, sort: state.about.sort, down: false };
  link(Object.fromEntries(Object.entries(asked).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(plain[name] ?? {}))));
  const { matching, kept, rows } = state.answer;
  const whose = state.about.others.length ? ` by ${state.about.run}` : "";
  const decided = state.about.run ? `, ${count(kept)} of them kept${whose}` : "";
  byId("counts").textContent = `${count(matching)} of ${count(rows)} samples${decided}`;
  const now = performance.now();
  const { dataset } = byId("counts"); // for bench/view.py: what took how long, by this clock
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

function begin(about, first = false) {
  const before = first ? linked() : {};
  Object.assign(state, { about, charts: about.charts, sort: about.sort, down: false, fields: Object.create(null), words: "", condition: "", lasso: [], marked: false, answer: null }, before);
  state.charts = [...new Set([...state.charts, ...Object.keys(state.fields)])];
  for (const id of ["words", "condition"]) byId(id).value = state[id];
  panel.close();
  state.chosen.clear();
  document.title = `${about.name} — tamis view`;
  const runs = byId("runs");
  const names = about.run ? about.runs : [about.name, ...about.runs];
  runs.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  runs.value = about.name;
  byId("others").textContent = about.others.length ? `beside ${about.others.join(", ")}` : "";
  const sorts = [about.run ? "rank" : "pool", "key", ...about.fields.map((field) => field.name)];
  byId("sort").replaceChildren(...sorts.map((name) => el("option", { value: name }, name)));
  byId("sort").value = state.sort === "rank" && !about.run ? "pool" : state.sort;
  directed();
  byId("as-map").hidden = !about.vectors;
  byId("what-if").hidden = !about.run;
  const rejects = Object.values(about.rejects).reduce((sum, one) => sum + one, 0);
  byId("rejects").hidden = !rejects;
  byId("rejects").textContent = `Rejects (${count(rejects)})`;
  byId("nights").hidden = !about.nights;
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
  for (const id of ["sorting", "direction"]) byId(id).hidden = what === "map";
  if (what === "map") map.show().catch((error) => say(error.message));
  else if (state.answer) tell("shown");
}

async function rejects(how) {
  const found = await get("rejects");
  const counts = Object.entries(found.counts).map(([reason, n]) => el("span", { class: "chip" }, `${reason} ${count(n)}`));
  const rows = found.rows.map((row) => el("tr", {}, el("td", {}, row.reason), el("td", { class: "key" }, `${row.source}${row.position === null ? "" : `:${row.position}`}`), el("td", {}, row.detail ?? "")));
  panel.open("Rejects", rejects, how, el("p", {}, "Rows of the sources that are no samples. ", ...counts), el("table", { class: "rejects" }, ...rows));
}

const KEYS = [
  ["/", "search; Enter goes to the samples"], ["arrows, Page, Home, End", "move through the samples"], ["Enter", "open one"], ["Space", "select (with Shift up to here)"],
  ["m", "mark as wrong what is selected, opened, or under the cursor; again: no mark"], ["Esc", "close the panel"], ["l g p", "list, grid, map"], ["w", "what if"],
];

function keys(how) {
  const fields = state.about.fields.filter((field) => field.of !== "score" && field.of !== "decision").map((field) => field.name);
  panel.open("Keys", keys, how, el("table", {}, ...KEYS.map(([key, does]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, does)))),
    el("h3", {}, "Names for conditions"), el("p", {}, el("code", {}, ["key", "text", "uri", ...fields, "tamis_kept", "tamis_reason", "tamis_step", "tamis_score"].join(", "))),
    el("p", { class: "hint" }, "A text stands in single quotes: domain = 'law'. Names with other signs than letters, digits and _ stand in double ones."),
  );
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
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && (event.key !== "ArrowDown" || id !== "words")) return;
    event.preventDefault();
    take();
    if (id === "words") byId("list").focus();
  });
  if (id === "words") input.addEventListener("input", () => {
    clearTimeout(late);
    late = setTimeout(take, 300);
  });
}
byId("asking").addEventListener("submit", (event) => event.preventDefault());
byId("sort").addEventListener("change", () => {
  state.sort = byId("sort").value;
  tell("ask");
});
function directed() {
  byId("direction").textContent = state.down ? "↓" : "↑";
  byId("direction").setAttribute("aria-label", state.down ? "Direction: last first" : "Direction: first first");
}
byId("direction").addEventListener("click", () => {
  state.down = !state.down;
  directed();
  tell("ask");
});
byId("runs").addEventListener("change", async () => {
  say("reading…");
  lookAt(byId("runs").value);
  try {
    begin(await get("about"));
  } catch (error) {
    say(error.message);
  }
});
for (const id of ["show-charts", "hide-charts"])
  byId(id).addEventListener("click", () => {
    const is = document.body.classList.toggle("with-charts");
    byId("show-charts").setAttribute("aria-expanded", String(is));
  });
on("answer", () => (byId("hide-charts").textContent = `Show ${count(state.answer.matching)} samples`));

// `m`: of what is selected, else of what is opened, else of what is under the cursor.
async function markThese() {
  const row = await activeRow();
  const rows = state.chosen.size ? [...state.chosen] : opened() !== null ? [opened()] : row ? [row.row] : [];
  const marked = row && rows.length === 1 && rows[0] === row.row && row.mark && row.mark.mark !== "none";
  if (rows.length && state.about.run) tell("mark", rows, { mark: marked ? "none" : "wrong" });
}
for (const one of ["list", "grid", "map"]) byId(`as-${one}`).addEventListener("click", () => shownAs(one));
byId("what-if").addEventListener("click", () => whatIf.show({}).catch((error) => say(error.message)));
byId("marks").addEventListener("click", () => marks.show({}));
byId("rejects").addEventListener("click", () => rejects({}).catch((error) => say(error.message)));
byId("nights").addEventListener("click", () => nights.show({}).catch((error) => say(error.message)));
byId("help").addEventListener("click", () => keys({}));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return panel.close();
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { "/": () => byId("words").focus(), l: () => shownAs("list"), g: () => shownAs("grid"), p: () => state.about.vectors && shownAs("map"), w: () => byId("what-if").click(), m: markThese, "?": () => keys({}) }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

get("about").then((about) => begin(about, true), (error) => say(error.message));
