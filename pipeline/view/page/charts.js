// A chart for each field: what matches under all other filters, kept against dropped; each is a filter itself.

import { byId, count, el, figure, svg } from "./dom.js";
import { filter, on, state, tell } from "./state.js";

const WIDE = 260;
const HIGH = 64;
const held = new Map(); // field -> its chart
const NAMES = { decision: "decision", step: "left at step", reason: "reason", runs: "chosen by" };

export function show() {
  const place = byId("charts");
  const more = el("select", { "aria-label": "Add a chart", onchange: () => add(more.value) }, el("option", { value: "" }, "+ a chart of…"));
  for (const field of state.about.fields) more.append(el("option", { value: field.name }, `${field.name} (${field.of})`));
  const share = el("select", { "aria-label": "Order of values", title: "by how many match, or by which part of their samples does" }, el("option", { value: "" }, "by count"), el("option", { value: "share" }, "by share"));
  share.value = state.by_share ? "share" : "";
  share.addEventListener("change", () => {
    state.by_share = share.value !== "";
    tell("ask");
  });
  const legend = state.about.steps.length
    ? el("p", { class: "legend" }, el("i", { class: "kept" }), "kept ", el("i", { class: "dropped" }), "dropped ", share)
    : el("p", { class: "legend" }, share);
  held.clear();
  place.replaceChildren(legend, ...state.charts.map((name) => made(name).node), more);
}

function add(name) {
  if (!name || state.charts.includes(name)) return;
  state.charts.push(name);
  show();
  draw();
  held.get(name).node.scrollIntoView({ block: "center" });
  tell("ask");
}

function made(name) {
  const body = el("div");
  const close = el("button", { class: "quiet close", "aria-label": `Close ${name}`, onclick: () => gone(name) }, "×");
  const node = el("section", { class: "chart", "data-field": name }, el("h2", {}, NAMES[name] ?? name, close), body);
  held.set(name, { node, body, last: null });
  return held.get(name);
}

function gone(name) {
  state.charts = state.charts.filter((one) => one !== name);
  show();
  draw();
  filter(name, null);
}

function draw() {
  for (const [name, chart] of held) {
    const told = state.answer?.charts[name];
    if (!told) chart.body.replaceChildren(el("p", { class: "hint" }, state.answer ? "too many values to group by; search or sort by it" : ""));
    else if (told.kind === "words") words(name, chart, told);
    else numbers(name, chart, told);
  }
}

function words(name, chart, told) {
  const chosen = new Set(state.fields[name]?.words ?? []);
  const whole = (i) => (state.by_share ? Math.max(1, told.all[i]) : most); // of what a bar is a part
  const most = Math.max(1, ...told.kept.map((kept, i) => kept + told.dropped[i]));
  const some = told.kept.some((kept, i) => kept + told.dropped[i] !== told.all[i]);
  const focused = document.activeElement?.dataset?.word;
  const mine = chart.body.contains(document.activeElement);
  const rows = told.names.map((word, i) => {
    const here = told.kept[i] + told.dropped[i];
    const bar = el(
      "span", { class: "track" },
      el("i", { class: "kept", style: { width: `${(100 * told.kept[i]) / whole(i)}%` } }),
      el("i", { class: "dropped", style: { width: `${(100 * told.dropped[i]) / whole(i)}%` } }),
    );
    const share = some && told.all[i] ? `${((100 * here) / told.all[i]).toFixed(here && here < told.all[i] / 1000 ? 2 : 0)}%` : "";
    const label = `${word}: ${count(here)} of ${count(told.all[i])}, ${count(told.kept[i])} kept`;
    return el(
      "button",
      { class: "value", tabindex: i === 0 ? 0 : -1, "data-word": word, "aria-pressed": String(chosen.has(word)), title: label, "aria-label": label, onclick: () => toggle(name, word) },
      el("span", { class: "name" }, called(name, word)), el("span", { class: "n" }, count(here)), el("span", { class: "n share" }, share), bar,
    );
  });
  const more = told.more ? el("p", { class: "hint" }, `and ${count(told.more)} more values`) : null;
  const values = el("div", { class: "values" }, ...rows);
  values.addEventListener("keydown", (event) => along(event, rows)); // one stop of Tab a chart, arrows inside
  chart.body.replaceChildren(values, more ?? "");
  if (mine && focused !== undefined) rows.find((row) => row.dataset.word === focused)?.focus();
}

function along(event, rows) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const next = by && rows[rows.indexOf(document.activeElement) + by];
  if (!next) return;
  event.preventDefault();
  for (const row of rows) row.tabIndex = row === next ? 0 : -1;
  next.focus();
}

// of a file the end of its path; whole in its title
const called = (name, word) => (word === "" ? "(empty)" : name === "source" ? word.split("/").pop() : word);

function toggle(name, word) {
  const chosen = new Set(state.fields[name]?.words ?? []);
  if (!chosen.delete(word)) chosen.add(word);
  filter(name, chosen.size ? { words: [...chosen] } : null);
}

function numbers(name, chart, told) {
  const most = Math.max(1, ...told.kept.map((kept, i) => kept + told.dropped[i]));
  const step = WIDE / told.kept.length;
  const whole = Math.max(1, ...told.all);
  const behind = told.all.map((all, i) => svg("rect", { class: "all", x: i * step, width: step - 0.6, y: HIGH - (HIGH * all) / whole, height: (HIGH * all) / whole }));
  const bars = told.kept.flatMap((kept, i) => {
    const [low, high] = [(HIGH * kept) / most, (HIGH * told.dropped[i]) / most];
    return [
      svg("rect", { class: "kept", x: i * step, width: step - 0.6, y: HIGH - low, height: low }),
      svg("rect", { class: "dropped", x: i * step, width: step - 0.6, y: HIGH - low - high, height: high }),
    ];
  });
  if (!chart.graph) {
    chart.graph = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": `how ${name} is spread` });
    chart.from = el("input", { type: "number", step: "any", "aria-label": `${name} from` });
    chart.to = el("input", { type: "number", step: "any", "aria-label": `${name} to` });
    chart.none = el("span", { class: "hint" });
    for (const input of [chart.from, chart.to]) input.addEventListener("change", () => typed(name, chart));
    brush(name, chart);
    chart.body.replaceChildren(chart.graph, el("div", { class: "span" }, chart.from, "to", chart.to), chart.none);
  }
  chart.last = told;
  const asked = state.fields[name];
  const shade = asked ? shaded(told, asked) : [];
  chart.graph.replaceChildren(...behind, ...bars, ...shade);
  if (document.activeElement !== chart.from) chart.from.value = asked?.least ?? "";
  if (document.activeElement !== chart.to) chart.to.value = asked?.most ?? "";
  chart.from.placeholder = figure(told.low);
  chart.to.placeholder = figure(told.high);
  chart.none.textContent = told.none ? `${count(told.none)} without a number` : "";
}

function shaded(told, asked) {
  const place = (value) => Math.min(WIDE, Math.max(0, (WIDE * (value - told.low)) / (told.high - told.low || 1)));
  const left = asked.least === undefined || asked.least === null ? 0 : place(asked.least);
  const right = asked.most === undefined || asked.most === null ? WIDE : place(asked.most);
  return [
    svg("rect", { class: "out", x: 0, width: left, y: 0, height: HIGH }),
    svg("rect", { class: "out", x: right, width: WIDE - right, y: 0, height: HIGH }),
  ];
}

function typed(name, chart) {
  const number = (input) => (input.value === "" || Number.isNaN(Number(input.value)) ? null : Number(input.value));
  const [least, most] = [number(chart.from), number(chart.to)];
  filter(name, least === null && most === null ? null : { least, most });
}

function brush(name, chart) {
  let began = null;
  const at = (event) => {
    const box = chart.graph.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return share;
  };
  const move = (event) => {
    if (began === null) return;
    const { low, high } = chart.last;
    const [a, b] = [began, at(event)].sort((x, y) => x - y);
    const value = (share) => low + share * (high - low);
    // an end at the edge of the picture is no end: what lies beyond counts in the outermost bars
    filter(name, b - a < 0.01 ? null : { least: a <= 0.005 ? null : value(a), most: b >= 0.995 ? null : value(b) });
  };
  chart.graph.addEventListener("pointerdown", (event) => {
    began = at(event);
    chart.graph.setPointerCapture(event.pointerId);
  });
  chart.graph.addEventListener("pointermove", move);
  chart.graph.addEventListener("pointerup", (event) => {
    move(event);
    began = null;
  });
}

on("answer", draw);
