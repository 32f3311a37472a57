// Marks: set for one sample or for many, kept beside the run, and written for those who take them.

import { get, post } from "./api.js";
import { byId, copied, count, el } from "./dom.js";
import { open } from "./panel.js";
import { on, state, tell } from "./state.js";

async function mark(rows, changes) {
  const found = await post("mark", { rows, ...changes });
  told(found.marks);
  tell("marked", rows);
  tell("did", `${count(found.marked)} ${changes.mark === "none" ? "without a mark now" : "marked"}`);
}

function told(marks) {
  state.about.marks = marks;
  byId("marks").textContent = marks ? `Marks (${count(marks)})` : "Marks";
}

export function show(how) {
  const out = el("div");
  const button = (kind, label, hint) => el("div", { class: "export" }, el("button", { onclick: () => written(kind, out) }, label), el("span", { class: "hint" }, hint));
  const only = el("input", { type: "checkbox" });
  only.checked = state.marked;
  only.addEventListener("change", () => {
    state.marked = only.checked;
    tell("ask");
  });
  open(
    "Marks",
    show,
    how,
    el("p", {}, `${count(state.about.marks)} samples are marked. They are kept beside the run, in marks.json; the run is as it was.`),
    el("p", {}, el("label", {}, only, " show only marked samples")),
    button("csv", "Table", "all marks, as CSV"),
    button("forget", "Keys to forget", "of wrong keeps: no later run may choose them"),
    button("labels", "Labels", "of those with a label: answers for the next round"),
    out,
  );
}

const NONE = { csv: "Nothing is marked yet.", forget: "No sample is marked as a wrong keep yet.", labels: "No sample has a label yet: open one, and type its right label." };
const AFTER = {
  forget: "Then run the recipe again under a new name (--run NAME). What a store has forgotten stays forgotten there.",
  labels: "The next run with `labels:` in its recipe learns from them.",
};

async function written(kind, out) {
  try {
    const found = await get("export", { kind });
    if (!found.count) return out.replaceChildren(el("p", {}, NONE[kind]));
    const link = el("a", { href: URL.createObjectURL(new Blob([found.text])), download: found.name }, "Save a copy");
    return out.replaceChildren(
      el("p", {}, `${count(found.count)} samples written to `, el("span", { class: "key" }, found.path), ". ", link),
      found.left_out ? el("p", { class: "hint" }, `${count(found.left_out)} keys have several lines, which a file of keys can't hold: name them to tamis forget one by one.`) : "",
      found.next ? el("div", {}, el("h3", {}, "In the terminal ", copied(found.next)), el("pre", {}, found.next), el("p", { class: "hint" }, AFTER[kind])) : "",
    );
  } catch (error) {
    return tell("said", error.message);
  }
}

on("mark", (rows, changes) => mark(rows, changes).catch((error) => tell("said", error.message)));
on("about", () => told(state.about.marks));

// A selection that is out of sight would be marked unseen.
on("answer", () => {
  state.chosen.clear();
  tell("chosen");
});

on("chosen", () => {
  const place = byId("selected");
  const n = state.chosen.size;
  const act = (changes) => mark([...state.chosen], changes).catch((error) => tell("said", error.message));
  const none = () => {
    state.chosen.clear();
    tell("chosen");
    tell("unchosen");
  };
  place.replaceChildren(
    ...(n
      ? [
          `${count(n)} selected: `,
          ...(state.about.run ? [el("button", { onclick: () => act({ mark: "wrong" }) }, "Mark as wrong")] : []),
          el("button", { onclick: () => act({ mark: "none" }) }, "No mark"),
          el("button", { class: "quiet", onclick: none }, "Clear"),
        ]
      : []),
  );
});

