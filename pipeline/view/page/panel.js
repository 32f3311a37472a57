// The panel beside the list: one thing at a time, closed by Escape, with the way back to what it showed before.

import { byId, el } from "./dom.js";

let from = null; // what had the focus
let now = null; // shows again what is shown
let before = []; // the same of what was shown earlier

// `again` shows the same once more; `instead`: it takes the place of what is shown, and is no step further.
export function open(title, again, { instead = false } = {}, ...children) {
  const panel = byId("panel");
  if (panel.hidden) [from, before] = [document.activeElement, []];
  else if (now && !instead) before.push(now);
  now = { title, again };
  panel.hidden = false;
  document.body.classList.add("with-panel");
  const back = before.length ? el("button", { class: "quiet", onclick: goBack }, `← ${before.at(-1).title}`) : "";
  panel.replaceChildren(el("div", { class: "panel-head" }, back, el("h2", {}, title), el("button", { class: "quiet close", "aria-label": "Close", onclick: close }, "×")), ...children);
  panel.scrollTop = 0;
  return panel;
}

function goBack() {
  const last = before.pop();
  now = null;
  last.again({ instead: true });
}

export function close() {
  byId("panel").hidden = true;
  document.body.classList.remove("with-panel");
  now = null;
  from?.focus();
}

export const isOpen = (title) => !byId("panel").hidden && now?.title === title;
