// What people read of numbers and times.

import { h } from "./dom.js";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** 1234567 as "1.2 MB" (powers of 1000, as TES counts). */
export function bytes(count) {
  let value = Number(count);
  if (!Number.isFinite(value)) return "";
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 99.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** Milliseconds as "340 ms", "4.2 s", "3 min 07 s", "2 h 15 min", "3 d 4 h". */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "";
  const left = Math.max(0, ms);
  if (left < 1000) return `${Math.round(left)} ms`;
  if (left < 59_950) return `${(left / 1000).toFixed(1)} s`;
  const seconds = Math.round(left / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago, for a list. */
export function ago(ms) {
  const seconds = Math.round((Date.now() - ms) / 1000);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 14 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return new Date(ms).toLocaleDateString();
}

/** The moment in milliseconds; NaN if there is none. */
export function millis(iso) {
  return iso ? Date.parse(iso) : NaN;
}

/** Date and time of day, of here. */
export function moment(iso) {
  const at = millis(iso);
  return Number.isNaN(at) ? "" : new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** An element that says how long ago something was, and goes on saying so. */
export function timeAgo(iso) {
  const at = millis(iso);
  if (Number.isNaN(at)) return h("span", { class: "faint" }, "–");
  return h("time", { datetime: iso, title: moment(iso), "data-at": at }, ago(at));
}

/** Counts of many things, as this place writes them. */
export function count(number) {
  return Number(number).toLocaleString();
}

/** "1 task", "2 tasks". */
export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** The beginning and the end of a long text. */
export function middleOut(text, most = 48) {
  if (text.length <= most) return text;
  const half = Math.floor((most - 1) / 2);
  return `${text.slice(0, half)}…${text.slice(-half)}`;
}

setInterval(() => {
  if (document.hidden) return;
  for (const node of document.querySelectorAll("time[data-at]")) {
    const text = ago(Number(node.dataset.at));
    if (node.textContent !== text) node.textContent = text;
  }
}, 5000);
