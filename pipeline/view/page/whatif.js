// What another budget, or another line, would keep: dragged, and told as it moves. No run is changed.

import { get, newest, picture, post } from "./api.js";
import { copied, count, el, figure, shortened, svg } from "./dom.js";
import { isOpen, open } from "./panel.js";
import { state, tell } from "./state.js";

const WIDE = 400;
const HIGH = 70;

const tried = new Map(); // by step and setting: what it was dragged to
let chosen = null; // the setting that was looked at last

export async function show(how) {
  const { steps } = await get("knobs");
  const knobs = steps.flatMap((step) => step.knobs.map((knob) => ({ ...knob, step: step.step, name: step.name })));
  const none = steps.filter((step) => !step.knobs.length).map((step) => el("li", {}, `${step.name}: ${step.reason}`));
  const pick = el("select", { "aria-label": "Setting" }, ...knobs.map((knob, i) => el("option", { value: i }, `${knob.name}: ${knob.called}`)));
  const groups = state.about.fields.filter((field) => field.of !== "score").map((field) => el("option", { value: field.name }, field.name));
  const by = el("select", { "aria-label": "Composition by" }, ...groups);
  const first = state.charts.find((name) => !["decision", "step", "reason", "runs"].includes(name) && state.answer?.charts[name]?.kind === "words");
  if (first) by.value = first;
  const body = el("div");
  const start = () => {
    if (!knobs.length) return body.replaceChildren();
    chosen = `${knobs[pick.value].step} ${knobs[pick.value].setting}`;
    return trial(body, knobs[pick.value], by);
  };
  pick.addEventListener("change", start);
  const last = knobs.findIndex((knob) => `${knob.step} ${knob.setting}` === chosen);
  if (knobs.length) pick.value = last >= 0 ? last : knobs.length - 1;
  open(
    "What if",
    show,
    how,
    knobs.length ? el("p", {}, pick) : el("p", {}, state.about.run ? "No setting of this run can be tried without running it." : "A run has settings; this is a pool."),
    body,
    none.length ? el("details", {}, el("summary", {}, "What can't be tried here"), el("ul", {}, ...none)) : "",
  );
  start();
}

function trial(body, knob, by) {
  const places = 1000;
  const name = `${state.about.name} ${knob.step} ${knob.setting}`;
  const began = tried.get(name) ?? knob.value;
  const span = knob.high - knob.low || 1;
  const rounded = (value) => (knob.whole ? Math.round(value) : Number(value.toPrecision(6)));
  const slider = el("input", { type: "range", min: 0, max: places, step: 1, "aria-label": knob.setting, value: (places * (began - knob.low)) / span });
  const number = el("input", { type: "number", step: knob.whole ? 1 : "any", "aria-label": `${knob.setting}, exactly`, value: rounded(began) });
  const graph = el("div");
  const told = el("div", { id: "tried", "aria-live": "polite" });
  let shape = null;

  const ask = newest(async () => {
    const at = performance.now();
    const value = number.value === "" ? null : Number(number.value);
    tried.set(name, value);
    try {
      const found = await post("try", { step: knob.step, setting: knob.setting, value, by: by.value, shape: shape === null });
      shape = shape ?? found.shape;
      if (isOpen("What if")) answer(found, value);
      told.dataset.ms = Math.round(performance.now() - at);
      told.dataset.asked = Number(told.dataset.asked ?? 0) + 1;
    } catch (error) {
      tell("said", error.message);
    }
  });

  function answer(found, value) {
    if (shape) graph.replaceChildren(drawn(shape, value));
    const change = found.kept - found.was;
    const changed = `${count(found.came)} added, ${count(found.went)} removed. `;
    const later = found.last ? "" : `Which of them later steps would keep, only a run can tell: ${count(found.stays)} of them are in the selection now, and later steps have never seen ${count(found.came)}.`;
    const does = found.last ? " would be selected" : " would pass this step";
    told.replaceChildren(
      el("p", { class: "big" }, count(found.kept), el("span", {}, `${does}, ${change >= 0 ? "+" : "−"}${count(Math.abs(change))}`)),
      el("p", { class: "hint" }, changed, later),
      groups(found.groups),
      edges(found.edge),
      el("h3", {}, "As a recipe says it ", copied(found.yaml)),
      el("pre", {}, found.yaml),
    );
  }

  slider.addEventListener("input", () => {
    number.value = rounded(knob.low + (span * slider.value) / places);
    ask();
  });
  number.addEventListener("input", () => {
    slider.value = (places * (Number(number.value) - knob.low)) / span;
    ask();
  });
  by.onchange = ask;
  const now = el("p", { class: "hint" }, `in this run: ${[knob.side, figure(knob.value), knob.unit].filter(Boolean).join(" ")}`);
  body.replaceChildren(graph, slider, el("p", { class: "exact" }, knob.side ? `${knob.side} ` : "", number, ` ${knob.unit}`), now, el("p", {}, el("label", {}, "Composition by ", by)), told);
  ask();
}

function drawn(shape, value) {
  const most = Math.max(1, ...shape.kept.map((kept, i) => kept + shape.dropped[i]));
  const step = WIDE / shape.kept.length;
  const bars = shape.kept.flatMap((kept, i) => {
    const [low, high] = [(HIGH * kept) / most, (HIGH * shape.dropped[i]) / most];
    return [
      svg("rect", { class: "kept", x: i * step, width: step - 0.6, y: HIGH - low, height: low }),
      svg("rect", { class: "dropped", x: i * step, width: step - 0.6, y: HIGH - low - high, height: high }),
    ];
  });
  const x = (WIDE * ((value ?? shape.low) - shape.low)) / (shape.high - shape.low || 1);
  return svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", class: "wide", role: "img", "aria-label": "how the number is spread; the line is where the setting lies" }, ...bars, svg("line", { class: "cut", x1: x, x2: x, y1: 0, y2: HIGH }));
}

function groups(found) {
  if (!found.length) return "";
  const most = Math.max(1, ...found.map((one) => Math.max(one.was, one.now)));
  const rows = found.map((one) =>
    el(
      "tr", {}, el("th", { scope: "row" }, shortened(one.name, 40)), el("td", { class: "n" }, count(one.was)), el("td", { class: "n" }, count(one.now)),
      el("td", { class: "bars" }, el("i", { class: "was", style: { width: `${(100 * one.was) / most}%` } }), el("i", { class: "kept", style: { width: `${(100 * one.now) / most}%` } })),
    ),
  );
  return el("table", { class: "groups" }, el("tr", {}, el("th", {}, ""), el("th", { class: "n" }, "now"), el("th", { class: "n" }, "then"), el("th", {}, "")), ...rows);
}

function edges(edge) {
  const row = (one, is) =>
    el(
      "button", { class: "edge", onclick: () => tell("open", one.row) },
      one.image ? el("img", { src: picture({ row: one.row }, 96), alt: "" }) : "", el("span", { class: "key" }, shortened(one.key, 60)), " ",
      one.was === is ? "" : el("span", { class: "badge marked" }, is ? "added" : "removed"), el("span", { class: "text" }, shortened(one.text, 120)),
    );
  const side = (title, rows, is) => el("div", {}, el("h3", {}, title), ...rows.map((one) => row(one, is)));
  return el("div", { class: "two" }, side("Last that would be kept", edge.kept, true), side("First that would be dropped", edge.dropped, false));
}
