// The nights of a store: what was published, held or withdrawn, by whom and why; and what changed between two runs.

import { get } from "./api.js";
import { copied, count, el } from "./dom.js";
import { open } from "./panel.js";
import { state } from "./state.js";

const percent = (share) => `${(100 * share).toFixed(1)}%`;

export async function show(how) {
  const found = await get("nights");
  const rows = found.decisions.map((one) => {
    const head = el("div", { class: "head" }, el("span", { class: `badge ${one.verdict === "published" ? "kept" : "marked"}` }, one.verdict), el("span", { class: "key" }, one.run), el("span", { class: "value" }, one.at.slice(0, 16).replace("T", " ")));
    const since = one.before && one.before !== one.run && state.about.runs.includes(one.run) ? el("button", { class: "quiet", onclick: () => changed(one.before, one.run, {}) }, `what changed since ${one.before}`) : "";
    const guards = one.guards.length
      ? el("details", {}, el("summary", {}, `${count(one.guards.length)} guards`), el("table", {}, ...one.guards.map(([name, told, holds]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, told), el("td", { title: holds ? "holds" : "does not hold" }, holds ? "✓" : "✗")))))
      : "";
    return el("li", { class: one.verdict === "published" ? "kept" : "" }, head, el("div", { class: "line" }, one.by !== "guards" ? `by ${one.by}: ${one.why}` : one.verdict === "published" ? "by its guards" : `by its guards: ${one.why}`), guards, since);
  });
  const mine = state.about.run;
  const published = Object.values(found.current).includes(mine);
  open(
    "Nights",
    show,
    how,
    el("p", {}, Object.entries(found.current).map(([to, run]) => `${to === "current" ? "current.json" : `current-${to}.json`} names ${run}. `)),
    rows.length ? el("ol", { class: "steps nights" }, ...rows) : el("p", {}, "No decision is on record. A recipe with `publish:` makes one at the end of each run."),
    published || !mine ? "" : el("div", {}, el("h3", {}, `Publish ${mine} `, copied(found.approve)), el("pre", {}, found.approve)),
  );
}

async function changed(before, after, how) {
  const found = await get("changed", { before, after });
  const side = (title, rows) => [
    el("h3", {}, title),
    rows.length ? el("table", {}, ...rows.map((one) => el("tr", {}, el("td", { class: "n" }, count(one.samples)), el("td", {}, one.why, el("div", { class: "line key" }, one.keys.join(", ") + (one.samples > one.keys.length ? ", …" : "")))))) : el("p", {}, "nothing"),
  ];
  const sum = (rows) => rows.reduce((all, one) => all + one.samples, 0);
  const fields = found.fields.filter((field) => field.groups.length).map((field) => [
    el("h3", {}, field.name),
    el("table", {}, ...field.groups.map(([group, was, is, old, now]) => el("tr", {}, el("td", { class: "key" }, group), el("td", { class: "n" }, `${count(was)} → ${count(is)}`), el("td", { class: "n" }, `${percent(old)} → ${percent(now)}`)))),
  ]);
  open(
    `${before} → ${after}`,
    (again) => changed(before, after, again),
    how,
    el("p", { class: "big" }, `${count(found.rows_before)} − ${count(sum(found.sides.out))} + ${count(sum(found.sides.in))} = ${count(found.rows_after)}`),
    el("p", { class: "hint" }, `${count(found.stay)} stay` + (found.rank_correlation === null ? "" : `; rank correlation ${found.rank_correlation.toFixed(3)}`) + (found.recipe.length ? `. The recipes differ in ${found.recipe.join(", ")}.` : ".")),
    ...side("Went out", found.sides.out),
    ...side("Came in", found.sides.in),
    ...fields.flat(),
    el("h3", {}, "In the terminal ", copied(found.command)),
    el("pre", {}, found.command),
  );
}
