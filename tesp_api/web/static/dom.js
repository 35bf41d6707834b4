// Elements made of data. Texts become text nodes and attributes, and are never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "hidden", "open", "indeterminate"]);

/** An HTML element: `h("a", {href, class, onclick}, "text", [more])`; what is null or false is left out. */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** An SVG element, on the same terms. */
export function s(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || (value === false && !PROPERTIES.has(name))) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child);
  }
}

/** Put other children in place of those that are there. */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

/** Attributes of an element that is there; null takes one away. */
export function attributes(node, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
  }
}

/**
 * Make the children of `parent` those of `items`, in order, keeping the element of an item that was there:
 * focus, selection and scrolling stay where they are.
 */
export function keyed(parent, items, keyOf, make, update) {
  const known = parent._keyed ?? (parent._keyed = new Map());
  const wanted = new Set(items.map(keyOf));
  for (const [key, node] of known) {
    if (!wanted.has(key)) {
      node.remove();
      known.delete(key);
    }
  }
  let before = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    if (!node) known.set(key, (node = make(item)));
    update?.(node, item);
    if (node === before) before = before.nextSibling;
    else parent.insertBefore(node, before);
  }
}

/** A small picture of lines, 16 by 16. */
export function icon(path, name = "") {
  return s("svg", { viewBox: "0 0 16 16", class: `icon ${name}`, "aria-hidden": "true" }, s("path", { d: path }));
}

/** Tell who cannot see it what has happened. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Call `what` at most every `ms`, also once after the last time that it was asked for. */
export function throttled(what, ms, signal) {
  let timer = 0;
  let last = -Infinity;
  const run = () => {
    timer = 0;
    last = performance.now();
    if (!signal?.aborted) what();
  };
  return () => {
    if (!timer) timer = setTimeout(run, Math.max(0, last + ms - performance.now()));
  };
}

/** Call `what` every `ms` until the page is left, while it can be seen. */
export function every(ms, signal, what) {
  const timer = setInterval(() => document.hidden || what(), ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}
