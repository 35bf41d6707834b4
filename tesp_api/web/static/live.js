// What happens as it happens: server-sent events over fetch (which can carry credentials, unlike EventSource).
// Where no stream comes through, or none is to be had, the page asks every few seconds instead.

import { send } from "./api.js";

const SILENT_MS = 40_000; // the server says something every 15 s
const POLL_FOR_MS = 30_000;
const AGAIN_MS = 2000;
const HIDDEN_MS = 5000;

/**
 * Follow a stream of events until it ends or `signal` aborts.
 *
 * `onEvent(name, data)` gets each event; `poll()` brings the page up to date by ordinary requests and returns
 * whether all has ended: it is called where there is no stream, and after each gap. `onStatus` hears "live",
 * "polling", "offline" or "ended". A page that is not looked at has no stream: browsers give a server six
 * connections, for all tabs.
 */
export async function follow(path, { query, signal, onEvent, poll, onStatus = () => {}, pollMs = 2000 }) {
  const cursor = { id: "", ended: false };
  let first = true;
  while (!signal.aborted && !cursor.ended) {
    await visible(signal);
    if (!first && (await asked(poll, onStatus, signal))) break;
    first = false;
    const began = await stream(path, query, cursor, signal, onEvent, onStatus);
    if (signal.aborted || cursor.ended) break;
    if (began) await pause(document.hidden ? 0 : AGAIN_MS, signal);
    else if (await pollFor(POLL_FOR_MS, pollMs, poll, onStatus, signal)) break;
  }
  if (!signal.aborted) onStatus("ended");
}

/** Read one stream to its end; returns whether it began. */
async function stream(path, query, cursor, signal, onEvent, onStatus) {
  const seen = whileSeen(signal);
  let silence = setTimeout(seen.leave, SILENT_MS);
  let began = false;
  try {
    const headers = { Accept: "text/event-stream", ...(cursor.id ? { "Last-Event-ID": cursor.id } : {}) };
    const answer = await send(path, { query, headers, signal: seen.signal });
    if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) {
      seen.leave();
      return false;
    }
    for await (const event of events(answer.body)) {
      clearTimeout(silence);
      silence = setTimeout(seen.leave, SILENT_MS);
      if (!began) onStatus("live");
      began = true;
      if (event.id !== undefined) cursor.id = event.id;
      if (!event.data) continue;
      if (event.name === "end") cursor.ended = true;
      onEvent(event.name, JSON.parse(event.data));
    }
  } catch {
    // it broke off: whoever called goes on by asking
  } finally {
    clearTimeout(silence);
    seen.done();
  }
  return began;
}

/** A signal that aborts when `signal` does, and when nobody has looked at the page for some seconds. */
export function whileSeen(signal) {
  const stop = new AbortController();
  const leave = () => stop.abort();
  let hidden = 0;
  const look = () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(leave, HIDDEN_MS);
  };
  signal.addEventListener("abort", leave);
  document.addEventListener("visibilitychange", look);
  const done = () => {
    clearTimeout(hidden);
    signal.removeEventListener("abort", leave);
    document.removeEventListener("visibilitychange", look);
  };
  return { signal: stop.signal, leave, done };
}

/** The events in a body; comments come as events without data. Source: WHATWG HTML, server-sent events. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) yield parsed(block);
  }
}

function parsed(block) {
  const event = { name: "message", data: "", id: undefined };
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event.name = value;
    if (field === "id") event.id = value;
    if (field === "data") event.data += (event.data && "\n") + value;
  }
  return event;
}

async function pollFor(forMs, everyMs, poll, onStatus, signal) {
  const until = performance.now() + forMs;
  while (performance.now() < until && !signal.aborted) {
    await visible(signal);
    if (await asked(poll, onStatus, signal)) return true;
    await pause(everyMs, signal);
  }
  return false;
}

/** Bring the page up to date, and say whether all has ended. */
async function asked(poll, onStatus, signal) {
  try {
    const ended = await poll();
    if (!signal.aborted) onStatus("polling");
    return ended;
  } catch {
    if (!signal.aborted) onStatus("offline");
    return false;
  }
}

/** Wait, but no longer than the page is there. */
export function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    }, { once: true });
  });
}

/** Wait until somebody looks at the page. */
export function visible(signal) {
  if (!document.hidden || signal.aborted) return Promise.resolve();
  return new Promise((done) => {
    const look = () => document.hidden || finish();
    const finish = () => {
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", finish, { once: true });
  });
}
