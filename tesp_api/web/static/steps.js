// The steps of a run, gathered by name, and which leads to which: told by the files that one leaves and another takes.

import { millis } from "./format.js";
import { FINAL } from "./states.js";

const ROWS_MOST = 150;

/** A node for each name of a step, with its counts by state, and the edges between them. */
export function groupsOf({ steps, tasks }) {
  const groups = new Map();
  const leftBy = new Map();
  const names = new Set([...steps.values()].map((step) => step.name));
  const nameOf = (step) => familyOf(step.name, names);
  for (const step of steps.values()) {
    const name = nameOf(step);
    const group = groups.get(name) ?? { id: name, label: name, counts: {}, tasks: [] };
    group.counts[step.state] = (group.counts[step.state] ?? 0) + 1;
    group.tasks.push(step.task_id);
    groups.set(name, group);
    for (const url of outputsOf(tasks.get(step.task_id))) leftBy.set(url, name);
  }
  const edges = new Map();
  for (const step of steps.values()) {
    const to = nameOf(step);
    for (const input of tasks.get(step.task_id)?.inputs ?? []) {
      const from = input.url && sourceOf(input.url, leftBy);
      if (from && from !== to) edges.set(JSON.stringify([from, to]), [from, to]);
    }
  }
  return { nodes: [...groups.values()], edges: [...edges.values()] };
}

/** The parts of a scatter are one step to look at: `align`, `align_2`, ..., or `align 0`, `align 1`, ... */
function familyOf(name, names) {
  const [, base, gap] = /^(.+)([_ ])\d+$/.exec(name) ?? [];
  return base && (gap === " " || names.has(base)) ? base : name;
}

/** Where a task puts files: what it declares, and what it has sent. */
function outputsOf(task) {
  const declared = (task?.outputs ?? []).map((one) => one.url);
  const sent = (task?.logs ?? []).flatMap((log) => (log.outputs ?? []).map((one) => one.url));
  return [...declared, ...sent].map(withoutSlash);
}

const withoutSlash = (url) => url.replace(/\/+$/, "");

/** The step that leaves a file, or one of the folders that it lies in. */
function sourceOf(url, leftBy) {
  let place = withoutSlash(url);
  while (place.includes("/")) {
    const found = leftBy.get(place);
    if (found) return found;
    place = place.slice(0, place.lastIndexOf("/"));
  }
  return null;
}

/** Rows of the Gantt chart: waiting in grey, then running; `left` counts the steps that have no row. */
export function stepRows({ steps, tasks }) {
  const all = [...steps.values()];
  const shown = all.length > ROWS_MOST ? all.slice(-ROWS_MOST) : all;
  const rows = shown.map((step) => ({
    key: step.task_id,
    label: step.name,
    href: step.state === "UNKNOWN" ? null : `tasks/${encodeURIComponent(step.task_id)}`,
    bars: barsOf(step, tasks.get(step.task_id)),
  }));
  return { rows: rows.filter((row) => row.bars.length), left: all.length - shown.length };
}

function barsOf(step, task) {
  if (!task) return [];
  const created = millis(task.creation_time);
  const log = task.logs?.at(-1);
  const begin = millis(log?.start_time);
  const isOver = FINAL.has(step.state);
  const end = millis(log?.end_time) || (isOver ? begin || created : undefined);
  const title = step.reused_from ? "taken over from an earlier run" : step.state.toLowerCase().replace("_", " ");
  if (step.reused_from) return [];
  if (!log?.start_time) return [{ from: created, to: isOver ? created : undefined, state: step.state === "QUEUED" || !isOver ? "QUEUED" : step.state, title }];
  return [
    { from: created, to: begin, tone: "wait", isQuiet: true, title: "queued" },
    { from: begin, to: isOver ? end : undefined, state: step.state, title },
  ];
}
