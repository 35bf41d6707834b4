// The end of a log, as it grows. What is shown is bounded: the oldest goes first, and all can be downloaded.

import { download, send } from "./api.js";
import { fill, h } from "./dom.js";
import { bytes } from "./format.js";
import { pause, visible, whileSeen } from "./live.js";
import { problem } from "./parts.js";

const TAIL_BYTES = 256 * 1024;
const EARLIER_BYTES = 512 * 1024;
const SHOWN_MOST = 2 * 1024 * 1024;
const CHUNK_LINES = 200;
const AGAIN_MS = 700;

const isLive = (answer) => answer.headers.get("X-Tesp-Log-Live") === "true";
const totalOf = (answer) => Number(answer.headers.get("X-Tesp-Log-Total"));

/**
 * A log at `path`, which is read from its end on and followed until it has ended. `name` is that of the file
 * when it is saved. The view belongs to the page until `signal` aborts.
 */
export function logView({ path, query = {}, name, signal, label }) {
  const shown = { begin: 0, next: 0, chars: 0, live: true };
  const text = h("div", { class: "log-text" });
  const screen = h("div", { class: "log", tabindex: 0, role: "region", "aria-label": label }, text);
  const told = h("span", { class: "faint" }, "Loading…");
  const follow = h("input", { type: "checkbox", checked: true });
  const wrap = h("input", { type: "checkbox", checked: true, onchange: () => screen.classList.toggle("nowrap", !wrap.checked) });
  const earlier = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => readEarlier() }, "Earlier lines");
  const save = h("button", { type: "button", class: "quiet", onclick: () => download(path, { ...query, limit: 8 * 1024 ** 2 }, name).catch((error) => told.replaceChildren(error.message)) }, "Download");
  const bar = h("div", { class: "log-bar" }, h("label", null, follow, "Follow"), h("label", null, wrap, "Wrap"), earlier, told, save);
  const node = h("div", { class: "log-box" }, bar, screen);
  const decoder = new TextDecoder();

  const tell = () => {
    const size = shown.next ? bytes(shown.next) : "empty";
    told.textContent = shown.live ? `${size} so far` : size;
    earlier.hidden = shown.begin <= 0;
  };
  const addLines = (more) => {
    let last = text.lastElementChild;
    const lines = more.split("\n");
    for (let at = 0; at < lines.length; at += CHUNK_LINES) {
      const piece = lines.slice(at, at + CHUNK_LINES).join("\n") + (at + CHUNK_LINES < lines.length ? "\n" : "");
      if (last && Number(last.dataset.lines) < CHUNK_LINES) {
        last.append(piece);
        last.dataset.lines = Number(last.dataset.lines) + piece.split("\n").length - 1;
      } else {
        last = h("div", { "data-lines": piece.split("\n").length }, piece);
        text.append(last);
      }
    }
    shown.chars += more.length;
    while (shown.chars > SHOWN_MOST && text.children.length > 1) {
      shown.chars -= text.firstElementChild.textContent.length;
      shown.begin += new TextEncoder().encode(text.firstElementChild.textContent).length;
      text.firstElementChild.remove();
    }
  };
  const append = (more) => {
    const isAtEnd = follow.checked;
    addLines(more);
    if (isAtEnd) screen.scrollTop = screen.scrollHeight;
    tell();
  };
  screen.addEventListener("scroll", () => {
    const isAtEnd = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 24;
    if (follow.checked !== isAtEnd && screen.scrollHeight > screen.clientHeight) follow.checked = isAtEnd;
  });
  follow.addEventListener("change", () => follow.checked && (screen.scrollTop = screen.scrollHeight));

  async function readEarlier() {
    const from = Math.max(0, shown.begin - EARLIER_BYTES);
    const answer = await send(path, { query: { ...query, offset: from, limit: shown.begin - from }, signal });
    const more = await answer.text();
    const height = screen.scrollHeight;
    follow.checked = false;
    text.prepend(h("div", { "data-lines": CHUNK_LINES }, more));
    shown.begin = from;
    shown.chars += more.length;
    screen.scrollTop += screen.scrollHeight - height;
    tell();
  }

  /** Where to begin: not so far from the end. */
  async function beginning() {
    const answer = await send(path, { query: { ...query, offset: 0, limit: 1 }, signal });
    node.classList.toggle("growing-log", isLive(answer));
    return Math.max(0, totalOf(answer) - TAIL_BYTES);
  }

  /** What is there behind `shown.next`; returns whether more may come, and whether it is there already. */
  async function readOn() {
    const answer = await send(path, { query: { ...query, offset: shown.next }, signal });
    const begin = Number(answer.headers.get("X-Tesp-Log-Offset"));
    if (begin > shown.next) append(`\n[… ${bytes(begin - shown.next)} were dropped here …]\n`);
    shown.next = begin;
    await take(answer);
    return { isLive: isLive(answer), isThere: shown.next < totalOf(answer) };
  }

  /** What comes, as it comes. A server that does not follow this log answers at once. */
  async function followOn() {
    const seen = whileSeen(signal);
    try {
      await take(await send(path, { query: { ...query, offset: shown.next, follow: "true" }, signal: seen.signal }));
    } finally {
      seen.done();
    }
  }

  async function take(answer) {
    const reader = answer.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      shown.next += value.length;
      append(decoder.decode(value, { stream: true }));
    }
  }

  async function readAll() {
    shown.begin = shown.next = await beginning();
    while (!signal.aborted) {
      const { isLive: mayGrow, isThere } = await readOn();
      shown.live = mayGrow;
      tell();
      if (isThere) continue;
      if (!mayGrow) return;
      await followOn().catch(() => {});
      await pause(AGAIN_MS, signal);
      await visible(signal);
    }
  }

  (async () => {
    for (;;) {
      try {
        await readAll();
        break;
      } catch (error) {
        if (signal.aborted) return;
        if (error.status && error.status < 500 && error.status !== 429) {
          fill(told, problem(error));
          return;
        }
      }
      text.replaceChildren();
      await pause(2000, signal);
    }
    if (!signal.aborted && !text.textContent) fill(text, h("span", { class: "faint" }, "Nothing was written here."));
    tell();
  })();
  return node;
}
