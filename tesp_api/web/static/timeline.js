// The phases of a task, read off its history, its worker's events and its executors' logs.

import { millis } from "./format.js";
import { stateOf } from "./states.js";

/**
 * The rows of a task's timeline, for `timeChart`: each phase is a row, with a bar for each attempt.
 *
 * `history` and `events` are those of the API; events are of the latest attempt.
 */
export function phases({ task, history, events }) {
  const rows = new Map();
  const add = (key, label, bar) => {
    if (Number.isNaN(bar.from)) return;
    if (!rows.has(key)) rows.set(key, { key, label, bars: [] });
    rows.get(key).bars.push({ ...bar, title: `${label}${bar.attempt > 1 ? ` (attempt ${bar.attempt})` : ""}: ${bar.what}` });
  };
  addStates(history, events, add);
  addExecutors(task, events, add);
  return order(rows);
}

function addStates(history, events, add) {
  const changes = history.filter((entry, at) => entry.state !== history[at - 1]?.state);
  changes.forEach((entry, at) => {
    const from = millis(entry.time);
    const next = changes[at + 1];
    const to = next ? millis(next.time) : undefined;
    const attempt = entry.attempt;
    if (entry.state === "QUEUED") add("queued", "Queued", { from, to, state: "QUEUED", attempt, what: "waited for a place and for its job" });
    if (entry.state === "INITIALIZING") add("in", "Staging in", { from, to, state: "INITIALIZING", attempt, what: "inputs came" });
    if (entry.state === "CANCELING") add("cancel", "Canceling", { from, to, state: "CANCELED", attempt, what: "what ran was ended" });
    if (entry.state === "RUNNING") {
      const upload = events.find((one) => one.event === "staging_out" && millis(one.time) >= from && (!to || millis(one.time) <= to));
      if (upload) add("out", "Upload", { from: millis(upload.time), to, tone: "stage", attempt, what: "outputs went" });
    }
  });
}

function addExecutors(task, events, add) {
  const seen = new Set();
  const label = (number) => (task.executors?.length > 1 ? `Executor ${number + 1}` : "Executor");
  (task.logs ?? []).forEach((log, at) => {
    (log.logs ?? []).forEach((one, number) => {
      seen.add(`${at + 1}.${number}`);
      add(`x${number}`, label(number), executorBar(one, at + 1));
    });
  });
  const begun = events.filter((one) => one.event === "executor_started");
  for (const { executor, attempt, time } of begun) {
    if (seen.has(`${attempt}.${executor}`)) continue;
    const end = events.find((one) => one.event === "executor_ended" && one.executor === executor && one.attempt === attempt);
    add(`x${executor}`, label(executor), executorBar({ start_time: time, end_time: end?.ended_at ?? endOf(events, task), exit_code: end?.exit_code }, attempt));
  }
}

/** When an executor ended of which nobody has said so: with the task. */
function endOf(events, task) {
  return events.find((one) => one.event === "ended")?.time ?? task.logs?.at(-1)?.end_time;
}

function executorBar({ start_time: start, end_time: end, exit_code: code }, attempt) {
  const state = code === undefined || code === null ? "RUNNING" : code === 0 ? "COMPLETE" : "EXECUTOR_ERROR";
  const what = code === undefined || code === null ? (end ? "was ended" : "runs") : `exit code ${code}`;
  return { from: millis(start), to: end ? millis(end) : undefined, state, tone: state === "RUNNING" && end ? "gone" : stateOf(state).tone, attempt, what };
}

function order(rows) {
  const rank = (key) => ({ queued: 0, in: 1, out: 900, cancel: 901 })[key] ?? 2 + Number(key.slice(1));
  return [...rows.values()].sort((a, b) => rank(a.key) - rank(b.key));
}

/** The transfers that are under way or have been told of, each as the latest event says. */
export function transfers(events) {
  const latest = new Map();
  for (const event of events) {
    if (event.event === "transfer") latest.set(`${event.direction} ${event.path} ${event.url}`, event);
  }
  return [...latest.values()];
}
