// The map: a point a sample, what matches on top, coloured by a field; drag to move, wheel to zoom, a line to choose.

import { get, newest, picture, post } from "./api.js";
import { byId, count, el, figure, shortened } from "./dom.js";
import { badge } from "./list.js";
import { ask, on, state, tell } from "./state.js";

const KEPT = "#1a9a6a"; // what keeps is green, as everywhere
const KEEPING = new Set(["kept", "selected", "chosen", "unique", "first_of_duplicates", "in_quota", "passed_through"]);
const PALETTE = ["#d1495b", "#3d6fb6", "#e09f3e", "#7b5ea7", "#4fb3d9", "#b5651d", "#8a8d3f", "#c2528b", "#5b7083"];
const GREY = [150, 160, 170];
const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

const place = byId("map");
const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "map of the samples" });
const tip = el("div", { class: "tip", hidden: true });
const legend = el("p", { class: "legend" });
const colour = el("select", { "aria-label": "Colour by", onchange: () => coloured() });
const lasso = el("button", { "aria-pressed": "false" }, "Lasso");
const hint = el("span", { class: "hint" });
place.append(el("div", { class: "bar" }, el("label", {}, "Colour by ", colour), lasso, el("button", { class: "quiet", onclick: () => whole() }, "Show all"), hint), legend, canvas, tip);

let points = null; // Float32Array x, y
let rows = null; // Int32Array
let codes = null; // Uint16Array
let colours = []; // [r, g, b] by code
let mask = null; // Uint8Array, a bit a point
const WHOLE = { x: 0, y: 0, zoom: 0.86 }; // 98% of the samples lie inside, and some beyond
let view = { ...WHOLE };
let line = [];

async function load() {
  const told = await get("map");
  if (!told.points) {
    legend.textContent = told.reason || "no sample has a vector";
    return;
  }
  const held = await get("map/points");
  points = new Float32Array(held, 0, told.points * 2);
  rows = new Int32Array(held, told.points * 8, told.points);
  hint.textContent = `${count(told.points)} samples, two directions of ${told.column} (they show ${(100 * told.share).toFixed(0)}% of its variation)`;
  colour.replaceChildren(...state.about.fields.map((field) => el("option", { value: field.name }, field.name)));
  await Promise.all([coloured(), masked()]);
}

async function coloured() {
  if (!points || !colour.value) return;
  const field = colour.value;
  let told;
  try {
    [codes, told] = await Promise.all([get("map/codes", { field }).then((held) => new Uint16Array(held)), get("map/meaning", { field })]);
  } catch (error) {
    return void (legend.textContent = error.message);
  }
  if (told.kind === "numbers") {
    colours = Array.from({ length: told.bins + 1 }, (_, i) => (i === told.bins ? GREY : ramp(i / (told.bins - 1))));
    legend.replaceChildren(`${figure(told.low)} `, ...[0, 0.25, 0.5, 0.75, 1].map((x) => el("i", { style: { background: `rgb(${ramp(x)})` } })), ` ${figure(told.high)}`);
  } else {
    colours = [];
    const names = told.names;
    const biggest = names.map((_, i) => i).filter((i) => told.sizes[i]).sort((a, b) => told.sizes[b] - told.sizes[a]);
    const others = biggest.filter((code) => !KEEPING.has(names[code]));
    biggest.forEach((code) => (colours[code] = rgb(KEPT)));
    others.forEach((code, i) => (colours[code] = field === "decision" || i >= PALETTE.length ? GREY : rgb(PALETTE[i])));
    legend.replaceChildren(
      ...biggest.slice(0, PALETTE.length).map((code) => el("span", {}, el("i", { style: { background: `rgb(${colours[code]})` } }), shortened(names[code], 24), " ")),
      biggest.length > PALETTE.length ? `and ${biggest.length - PALETTE.length} more in grey` : "",
    );
  }
  draw();
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function ramp(share) {
  const at = share * (STOPS.length - 1);
  const i = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[i].map((low, n) => Math.round(low + (at - i) * (STOPS[i + 1][n] - low)));
}

const masked = newest(async () => {
  if (!points || place.hidden) return;
  mask = new Uint8Array(await post("map/mask", ask({ charts: [] })));
  draw();
});

function fit() {
  const box = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(box.width * scale)), Math.max(1, Math.round(box.height * scale))];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
}

const toX = (x) => ((x - 0.5) * view.zoom + 0.5 + view.x) * canvas.width;
const toY = (y) => (1 - ((y - 0.5) * view.zoom + 0.5 + view.y)) * canvas.height;
const fromX = (px) => (px / canvas.width - 0.5 - view.x) / view.zoom + 0.5;
const fromY = (py) => (1 - py / canvas.height - 0.5 - view.y) / view.zoom + 0.5;

export function draw() {
  if (!points || place.hidden) return;
  const began = performance.now();
  fit();
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const packed = colours.map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
  const faint = (70 << 24) | (GREY[2] << 16) | (GREY[1] << 8) | GREY[0];
  const wide = points.length < 6000 ? 5 : points.length < 40000 ? 3 : points.length < 400000 ? 2 : 1;
  const n = rows.length;
  for (let pass = 0; pass < 2; pass++) {
    for (let i = 0; i < n; i++) {
      const on = mask ? (mask[i >> 3] >> (i & 7)) & 1 : 1;
      if (on !== pass) continue;
      const px = toX(points[2 * i]) | 0;
      const py = toY(points[2 * i + 1]) | 0;
      if (px < 0 || py < 0 || px + wide > canvas.width || py + wide > canvas.height) continue;
      const one = on ? packed[codes?.[i] ?? 0] ?? faint : faint;
      for (let dy = 0; dy < wide; dy++) for (let dx = 0; dx < wide; dx++) pixels[(py + dy) * canvas.width + px + dx] = one;
    }
  }
  context.putImageData(image, 0, 0);
  if (line.length > 1) {
    context.beginPath();
    line.forEach(([x, y], i) => (i ? context.lineTo(toX(x), toY(y)) : context.moveTo(toX(x), toY(y))));
    context.closePath();
    context.lineWidth = 2;
    context.strokeStyle = getComputedStyle(canvas).color;
    context.stroke();
  }
  canvas.dataset.ms = (performance.now() - began).toFixed(1);
}

function whole() {
  view = { ...WHOLE };
  line = [];
  state.lasso = [];
  tell("ask");
  draw();
}

let held = null;
const inside = (event) => {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
};
const lassoing = (event) => lasso.getAttribute("aria-pressed") === "true" || event.shiftKey;

lasso.addEventListener("click", () => lasso.setAttribute("aria-pressed", String(lasso.getAttribute("aria-pressed") !== "true")));
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  const [x, y] = inside(event);
  held = { x, y, view: { ...view }, lasso: lassoing(event), moved: false };
  if (held.lasso) line = [[fromX(x), fromY(y)]];
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = inside(event);
  if (!held) return hover(event, x, y);
  held.moved ||= Math.hypot(x - held.x, y - held.y) > 4;
  if (held.lasso) line.push([fromX(x), fromY(y)]);
  else Object.assign(view, { x: held.view.x + (x - held.x) / canvas.width, y: held.view.y - (y - held.y) / canvas.height });
  draw();
});
canvas.addEventListener("pointerup", (event) => {
  const mine = held;
  held = null;
  if (mine?.lasso && line.length > 2) {
    const every = Math.ceil(line.length / 120);
    state.lasso = line.filter((_, i) => i % every === 0);
    tell("ask");
  } else if (mine && !mine.moved) {
    const found = nearest(...inside(event));
    if (found >= 0) tell("open", rows[found]);
  }
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const [px, py] = inside(event);
  zoom(Math.exp(-event.deltaY / 400), px, py);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
  if (step) Object.assign(view, { x: view.x + step[0], y: view.y + step[1] });
  else if (event.key === "+" || event.key === "=") zoom(1.4, canvas.width / 2, canvas.height / 2);
  else if (event.key === "-") zoom(1 / 1.4, canvas.width / 2, canvas.height / 2);
  else return;
  event.preventDefault();
  draw();
});

function zoom(by, px, py) {
  const [x, y] = [fromX(px), fromY(py)];
  view.zoom = Math.min(400, Math.max(0.5, view.zoom * by));
  view.x = px / canvas.width - 0.5 - (x - 0.5) * view.zoom;
  view.y = 1 - py / canvas.height - 0.5 - (y - 0.5) * view.zoom;
  draw();
}

function nearest(px, py) {
  if (!points) return -1;
  const [x, y] = [fromX(px), fromY(py)];
  const reach = (12 / canvas.width / view.zoom) ** 2;
  let [best, found] = [reach, -1];
  for (let i = 0; i < rows.length; i++) {
    if (mask && !((mask[i >> 3] >> (i & 7)) & 1)) continue;
    const far = (points[2 * i] - x) ** 2 + (points[2 * i + 1] - y) ** 2;
    if (far < best) [best, found] = [far, i];
  }
  return found;
}

let tipped = -1;
const describe = newest(async (found) => {
  const row = await get("row", { row: rows[found] });
  if (found !== tipped) return;
  const image = row.image ? el("img", { src: picture({ row: row.row }, 96), alt: "" }) : "";
  tip.replaceChildren(image, el("b", {}, shortened(row.key, 60)), " ", badge(row) ?? "", el("div", {}, shortened(row.text, 140)));
});

function hover(event, px, py) {
  const found = nearest(px, py);
  tip.hidden = found < 0;
  canvas.style.cursor = found < 0 ? "grab" : "pointer";
  if (found < 0) return void (tipped = -1);
  const box = place.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 260)}px`;
  tip.style.top = `${event.clientY - box.top + 14}px`;
  if (found !== tipped) {
    tipped = found;
    describe(found);
  }
}

export async function show() {
  if (!points) await load();
  else await masked();
  draw();
}

on("answer", () => {
  line = state.lasso.length ? line : [];
  if (!place.hidden) masked();
});
on("about", () => {
  points = null;
});
new ResizeObserver(() => draw()).observe(canvas);
