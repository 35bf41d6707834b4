// Bars over time: the timeline of a task, the Gantt chart of a run.

import { attributes, fill, h, s } from "./dom.js";
import { duration } from "./format.js";
import { stateOf } from "./states.js";

const ROW = 30;
const BAR = 16;
const AXIS = 26;
const STEPS_S = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800];

/**
 * A chart that can be drawn again and again. `draw(rows)` takes rows of `{key, label, href, bars}`, bars of
 * `{from, to, state, tone, title}` in milliseconds; a bar without `to` goes on until now.
 */
export function timeChart(label, signal) {
  const svg = s("svg", { class: "chart", role: "group", "aria-label": label });
  const axis = s("g", { class: "axis", "aria-hidden": "true" });
  const body = s("g");
  svg.append(axis, body);
  const host = h("div", { class: "chart-host" }, svg);
  const known = new Map();
  let rows = [];

  const redraw = () => {
    const width = Math.max(280, host.clientWidth);
    const frame = frameOf(rows, width);
    attributes(svg, { width, height: AXIS + rows.length * ROW, viewBox: `0 0 ${width} ${AXIS + rows.length * ROW}` });
    drawAxis(axis, frame, rows.length);
    const wanted = new Set(rows.map((row) => row.key));
    for (const [key, node] of known) {
      if (!wanted.has(key)) {
        node.remove();
        known.delete(key);
      }
    }
    rows.forEach((row, at) => {
      let node = known.get(row.key);
      if (!node) known.set(row.key, (node = makeRow(row)));
      if (body.children[at] !== node) body.insertBefore(node, body.children[at] ?? null);
      placeRow(node, row, at, frame);
    });
  };
  const observer = new ResizeObserver(redraw);
  observer.observe(host);
  signal.addEventListener("abort", () => observer.disconnect());
  return {
    node: host,
    draw(next) {
      rows = next;
      redraw();
    },
  };
}

/** Where time lies: between the names at the left and some room for the last duration at the right. */
function frameOf(rows, width) {
  const bars = rows.flatMap((row) => row.bars);
  const now = Date.now();
  const begin = bars.reduce((least, bar) => Math.min(least, bar.from), Infinity);
  const last = bars.reduce((most, bar) => Math.max(most, bar.to ?? now), -Infinity);
  const from = Number.isFinite(begin) ? begin : now;
  const spanMs = Math.max(last - from, 50);
  const left = Math.min(190, Math.round(width * 0.32));
  const right = width - 74;
  const x = (ms) => left + (Math.min(Math.max(ms - from, 0), spanMs) / spanMs) * (right - left);
  return { from, spanMs, left, right, now, x, width };
}

function drawAxis(axis, frame, rowCount) {
  const most = Math.max(2, Math.floor((frame.right - frame.left) / 84));
  const step = STEPS_S.find((one) => frame.spanMs / 1000 / one <= most) ?? STEPS_S.at(-1);
  const ticks = [];
  for (let at = 0; at * step * 1000 <= frame.spanMs && ticks.length < 40; at += 1) ticks.push(at * step * 1000);
  fill(
    axis,
    ticks.map((ms) => {
      const x = frame.x(frame.from + ms);
      const text = ms ? duration(ms).replace(/(\d)\.0 s/, "$1 s").replace(/ 00 s$/, "").replace(/ 00 min$/, "") : "0";
      return [
        s("line", { x1: x, x2: x, y1: AXIS - 6, y2: AXIS + rowCount * ROW }),
        s("text", { x, y: 13, "text-anchor": ms ? "middle" : "start" }, text),
      ];
    }),
  );
}

function makeRow(row) {
  const name = s("text", { class: "label" });
  const bars = s("g");
  const back = s("rect", { class: "row-back", x: 0, height: ROW });
  const inner = row.href ? s("a", { href: row.href }, back, name, bars) : s("g", null, back, name, bars);
  const node = s("g", { class: "row" }, inner);
  node.parts = { name, bars, inner, back };
  return node;
}

function placeRow(node, row, at, frame) {
  const { name, bars, inner, back } = node.parts;
  attributes(node, { transform: `translate(0 ${AXIS + at * ROW})` });
  attributes(back, { width: frame.width });
  attributes(name, { x: 4, y: ROW / 2 + 4 });
  const most = Math.floor((frame.left - 12) / 6.7);
  const text = row.label.length > most ? `${row.label.slice(0, most - 1)}…` : row.label;
  if (name.textContent !== text) name.textContent = text;
  const told = [row.label, ...row.bars.map((bar) => bar.title)].join(", ");
  attributes(inner, row.href ? { "aria-label": told } : {});
  fill(bars, s("title", null, told), row.bars.map((bar) => drawBar(bar, frame)));
}

function drawBar(bar, frame) {
  const x = frame.x(bar.from);
  const end = frame.x(bar.to ?? frame.now);
  const width = Math.max(3, end - x);
  const tone = bar.tone ?? stateOf(bar.state).tone;
  const text = bar.text ?? duration((bar.to ?? frame.now) - bar.from);
  const fits = width > text.length * 6.6 + 10;
  return [
    s("rect", { class: `bar fill-${tone}${bar.to ? "" : " growing"}`, x, y: (ROW - BAR) / 2, width, height: BAR, rx: 4 }),
    bar.isQuiet
      ? null
      : s("text", { class: fits ? "inside" : "beside", x: fits ? x + 6 : x + width + 5, y: ROW / 2 + 4 }, text),
  ];
}
