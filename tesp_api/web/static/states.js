// The states, each with a word, a shape and a colour: no one of them has to be seen to know it.

import { h, icon } from "./dom.js";

const CIRCLE = "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2Z";
const STOPPED = `${CIRCLE}M4 4l8 8`;

export const STATES = {
  QUEUED: { label: "Queued", tone: "wait", shape: `${CIRCLE}M8 4.8V8l2.2 1.6` },
  INITIALIZING: { label: "Staging in", tone: "stage", shape: "M8 2v7.5M4.8 6.6 8 9.8l3.2-3.2M3 13.5h10" },
  RUNNING: { label: "Running", tone: "run", shape: "M5 3.2v9.6L12.6 8Z" },
  PAUSED: { label: "Paused", tone: "wait", shape: "M5.5 3.5v9M10.5 3.5v9" },
  COMPLETE: { label: "Complete", tone: "good", shape: "M2.8 8.6 6.4 12.2 13.2 4.4" },
  EXECUTOR_ERROR: { label: "Executor error", tone: "bad", shape: "M4 4l8 8M12 4l-8 8" },
  SYSTEM_ERROR: { label: "System error", tone: "broken", shape: "M8 2.2 14.4 13.5H1.6ZM8 6.4v3.2M8 11.5v.2" },
  PREEMPTED: { label: "Preempted", tone: "broken", shape: "M3.6 9 8 3.6 12.4 9ZM3.6 12.6h8.8" },
  CANCELING: { label: "Canceling", tone: "gone", shape: STOPPED },
  CANCELED: { label: "Canceled", tone: "gone", shape: STOPPED },
  UNKNOWN: { label: "Deleted", tone: "gone", shape: "M4 8h8" },
};

export const FINAL = new Set(["COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED", "PREEMPTED"]);

/** What is known of a state, also of one that came later than this page. */
export function stateOf(name) {
  return STATES[name] ?? { label: name, tone: "wait", shape: CIRCLE };
}

/** Shape and word of a state. */
export function badge(name) {
  const { label, tone, shape } = stateOf(name);
  return h("span", { class: `badge tone-${tone}`, "data-state": name }, icon(shape), label);
}

/** Change a badge to another state, if it is one. */
export function setBadge(node, name) {
  if (node.dataset.state === name) return node;
  const next = badge(name);
  node.replaceWith(next);
  return next;
}
