// The steps of a run as a graph in layers: each step stands behind all that it needs.

import { fill, h, s } from "./dom.js";
import { plural } from "./format.js";
import { stateOf } from "./states.js";

const BOX = { width: 168, height: 54 };
const GAP = { along: 44, across: 18 };
const MARGIN = 8;
const NODES_MOST = 200;
const URGENCY = ["SYSTEM_ERROR", "EXECUTOR_ERROR", "PREEMPTED", "RUNNING", "INITIALIZING", "CANCELING", "QUEUED", "CANCELED", "UNKNOWN", "COMPLETE"];

/** A graph that can be drawn again and again, and lies down on narrow screens. */
export function stepGraph(signal) {
  const host = h("div", { class: "graph-host", tabindex: 0, role: "region", "aria-label": "Graph of the steps" });
  let given = { nodes: [], edges: [] };
  let drawn = "";
  const draw = (again = false) => {
    const isDown = host.clientWidth < 620;
    const key = JSON.stringify([isDown, given]);
    if (key === drawn && !again) return;
    drawn = key;
    const focused = document.activeElement?.closest?.("[data-step]")?.dataset.step;
    fill(host, picture(given, isDown));
    if (focused !== undefined) host.querySelector(`[data-step="${CSS.escape(focused)}"]`)?.focus();
  };
  const observer = new ResizeObserver(() => draw());
  observer.observe(host);
  signal.addEventListener("abort", () => observer.disconnect());
  return {
    node: host,
    draw(graph) {
      given = graph;
      draw();
    },
  };
}

function picture({ nodes, edges, run }, isDown) {
  if (!nodes.length) return h("p", { class: "faint" }, "No step has begun yet. They appear as the engine comes to them.");
  if (nodes.length > NODES_MOST) return h("p", { class: "faint" }, `${plural(nodes.length, "different step")} are too many for a picture; the chart below has them.`);
  const layers = layersOf(nodes, edges);
  const size = isDown ? { along: BOX.height, across: BOX.width } : { along: BOX.width, across: BOX.height };
  const widest = Math.max(...layers.map((layer) => layer.length));
  const places = new Map();
  layers.forEach((layer, depth) => {
    const shift = ((widest - layer.length) * (size.across + GAP.across)) / 2;
    layer.forEach((node, at) => {
      const along = MARGIN + depth * (size.along + GAP.along);
      const across = MARGIN + shift + at * (size.across + GAP.across);
      places.set(node.id, isDown ? { x: across, y: along } : { x: along, y: across });
    });
  });
  const length = 2 * MARGIN + layers.length * (size.along + GAP.along) - GAP.along;
  const breadth = 2 * MARGIN + widest * (size.across + GAP.across) - GAP.across;
  const [width, height] = isDown ? [breadth, length] : [length, breadth];
  return s(
    "svg",
    { class: "graph", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${plural(nodes.length, "step")} and what they need` },
    s("g", { class: "edges", "aria-hidden": "true" }, edges.map(([from, to]) => edge(places.get(from), places.get(to), isDown))),
    layers.flat().map((node) => box(node, places.get(node.id), run)),
  );
}

/** Each node one layer behind the last that it needs; within a layer, near what leads to it. */
function layersOf(nodes, edges) {
  const before = new Map(nodes.map((node) => [node.id, []]));
  for (const [from, to] of edges) before.get(to).push(from);
  const depths = new Map();
  const depthOf = (id, path) => {
    if (depths.has(id)) return depths.get(id);
    if (path.has(id)) return 0; // steps of one name may lead to each other in a circle
    path.add(id);
    const depth = before.get(id).reduce((most, one) => Math.max(most, depthOf(one, path) + 1), 0);
    path.delete(id);
    depths.set(id, depth);
    return depth;
  };
  const layers = [];
  for (const node of nodes) (layers[depthOf(node.id, new Set())] ??= []).push(node);
  const filled = layers.filter(Boolean);
  const order = new Map();
  filled.forEach((layer) => {
    const wish = (node) => {
      const seen = before.get(node.id).map((one) => order.get(one)).filter((one) => one !== undefined);
      return seen.length ? seen.reduce((sum, one) => sum + one, 0) / seen.length : Infinity;
    };
    const wishes = new Map(layer.map((node) => [node, wish(node)]));
    layer.sort((a, b) => wishes.get(a) - wishes.get(b) || 0);
    layer.forEach((node, at) => order.set(node.id, at - layer.length / 2));
  });
  return filled;
}

function edge(from, to, isDown) {
  const [x1, y1, x2, y2] = isDown
    ? [from.x + BOX.width / 2, from.y + BOX.height, to.x + BOX.width / 2, to.y]
    : [from.x + BOX.width, from.y + BOX.height / 2, to.x, to.y + BOX.height / 2];
  const half = isDown ? (y2 - y1) / 2 : (x2 - x1) / 2;
  const bend = isDown ? `${x1} ${y1 + half} ${x2} ${y2 - half}` : `${x1 + half} ${y1} ${x2 - half} ${y2}`;
  return s("path", { d: `M${x1} ${y1}C${bend} ${x2} ${y2}` });
}

function box(node, { x, y }, run) {
  const total = node.tasks.length;
  const worst = URGENCY.find((state) => node.counts[state]) ?? "QUEUED";
  const { label, tone, shape } = stateOf(worst);
  const done = node.counts.COMPLETE ?? 0;
  const said = total > 1 ? `${done} of ${total} done` : label;
  const title = `${node.label}: ${total > 1 ? Object.entries(node.counts).map(([state, number]) => `${number} ${stateOf(state).label}`).join(", ") : label}`;
  const name = node.label.length > 21 ? `${node.label.slice(0, 20)}…` : node.label;
  const href = total === 1 ? (worst === "UNKNOWN" ? null : `tasks/${encodeURIComponent(node.tasks[0])}`) : `tasks?tag_key=wes.run_id&tag_value=${encodeURIComponent(run)}&name_prefix=${encodeURIComponent(node.label)}`;
  const inner = [
    s("title", null, title),
    s("rect", { width: BOX.width, height: BOX.height, rx: 9, class: "box" }),
    s("text", { x: 34, y: 23, class: "step-name" }, name),
    s("text", { x: 34, y: 41, class: "step-state" }, said),
    s("svg", { x: 10, y: 11, width: 16, height: 16, viewBox: "0 0 16 16", class: "icon" }, s("path", { d: shape })),
    total > 1 ? s("rect", { x: 1, y: BOX.height - 4, width: BOX.width - 2, height: 3, class: "share-back" }) : null,
    total > 1 ? s("rect", { x: 1, y: BOX.height - 4, width: ((BOX.width - 2) * done) / total, height: 3, class: "share" }) : null,
  ];
  return s("g", { transform: `translate(${x} ${y})`, class: `node tone-${tone}` }, href ? s("a", { href, "aria-label": title, "data-step": node.id }, inner) : inner);
}
