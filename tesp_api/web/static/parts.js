// Small parts that several pages are made of.

import { announce, fill, h, icon } from "./dom.js";

const HELP = {
  0: "Is the server running, and are you connected? What is shown may be old; it is tried again.",
  401: "Log in again: the credentials are missing, wrong, or no longer good.",
  403: "Your login is not good for this. Ask the operator of the server for the right, or use another login.",
  404: "It may have been deleted, or it belongs to somebody whose tasks you cannot see.",
  409: "It has changed meanwhile. Reload the page and look again.",
  413: "Make it smaller: large inputs belong in files that the task names by URL.",
  429: "The server asks for a pause. Wait a little and try again.",
  503: "The server is busy or about to stop. Try again in a few seconds.",
};

/** What went wrong, and what to do. */
export function problem(error, retry) {
  const help = HELP[error.status] ?? (error.status >= 500 ? "The log of the server says more; ask its operator." : "");
  const isLoading = error instanceof TypeError && /module|import/i.test(error.message);
  const message = isLoading ? "A part of the dashboard could not be loaded: the server may have been updated." : error.message;
  return h(
    "div",
    { class: "problem", role: "alert" },
    icon("M8 2.2 14.4 13.5H1.6ZM8 6.4v3.2M8 11.5v.2"),
    h(
      "div",
      null,
      h("p", { class: "strong" }, message),
      error.faults?.length ? faultList(error.faults) : null,
      help ? h("p", null, help) : null,
      retry ? h("button", { type: "button", onclick: isLoading ? () => location.reload() : retry }, isLoading ? "Reload" : "Try again") : null,
    ),
  );
}

/** Faults with their fields. */
export function faultList(faults) {
  return h("ul", { class: "faults" }, faults.map((one) => h("li", null, h("code", null, one.field || "document"), " ", one.message)));
}

/** What stands where nothing is yet. */
export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "strong" }, title), h("p", null, more));
}

/** Whether the page is told of changes at once: a dot with a word. */
export function liveMark() {
  const word = h("span");
  const node = h("span", { class: "live", "data-status": "wait", title: "Whether changes are shown as they happen" }, h("i"), word);
  const words = { wait: "Connecting", live: "Live", polling: "Every 2 s", offline: "Offline", ended: "" };
  const show = (status) => {
    node.dataset.status = status;
    word.textContent = words[status];
    node.hidden = status === "ended";
  };
  show("wait");
  return { node, show };
}

/** A button that copies a text. */
export function copyButton(text, what) {
  const button = h("button", { type: "button", class: "quiet square copy", "aria-label": `Copy ${what}`, title: `Copy ${what}` });
  const shape = icon("M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3");
  fill(button, shape);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      fill(button, icon("M2.8 8.6 6.4 12.2 13.2 4.4"));
      announce(`The ${what} is copied`);
    } catch {
      announce("The browser does not allow copying here");
    }
    setTimeout(() => fill(button, shape), 1500);
  });
  return button;
}

/** A list of facts; those without a value are left out. */
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

/** A part of a page with a heading. */
export function section(title, props, ...children) {
  return h("section", props, h("h2", null, title), children);
}

/** A button that does something once, is off meanwhile, and tells what went wrong beside it. */
export function action(text, what, { kind = "", place } = {}) {
  const button = h("button", { type: "button", class: kind }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    place?.replaceChildren();
    try {
      await what();
    } catch (error) {
      place?.replaceChildren(problem(error));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

/** Tabs for which the arrow keys do what people expect. Source: WAI-ARIA Authoring Practices, Tabs. */
export function tabs(label, names, onChoose) {
  let chosen = 0;
  const choose = (at, { focus = false } = {}) => {
    chosen = at;
    buttons.forEach((button, number) => {
      button.setAttribute("aria-selected", String(number === at));
      button.tabIndex = number === at ? 0 : -1;
    });
    if (focus) buttons[at].focus();
    onChoose(at);
  };
  const buttons = names.map((name, at) => h("button", { type: "button", role: "tab", onclick: () => choose(at) }, name));
  const onkeydown = (event) => {
    const to = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose((to + buttons.length) % buttons.length, { focus: true });
  };
  return { node: h("div", { class: "tabs", role: "tablist", "aria-label": label, onkeydown }, buttons), choose };
}

/** A link if the URL is one that browsers may open; else its text. */
export function urlText(url) {
  const text = h("span", { class: "url" }, url);
  return /^https?:\/\//i.test(url) ? h("a", { href: url, rel: "noreferrer noopener", target: "_blank" }, text) : text;
}
