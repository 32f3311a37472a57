// The panel beside the list: one thing at a time, closed by Escape.

import { byId, el } from "./dom.js";

let back = null;

export function open(title, ...children) {
  const panel = byId("panel");
  if (panel.hidden) back = document.activeElement;
  panel.hidden = false;
  document.body.classList.add("with-panel");
  const top = panel.scrollTop;
  const same = panel.dataset.title === title;
  panel.dataset.title = title;
  panel.replaceChildren(el("div", { class: "panel-head" }, el("h2", {}, title), el("button", { class: "quiet close", "aria-label": "Close", onclick: close }, "×")), ...children);
  panel.scrollTop = same ? top : 0;
  return panel;
}

export function close() {
  const panel = byId("panel");
  panel.hidden = true;
  panel.dataset.title = "";
  document.body.classList.remove("with-panel");
  back?.focus();
}

export const isOpen = (title) => !byId("panel").hidden && byId("panel").dataset.title === title;
