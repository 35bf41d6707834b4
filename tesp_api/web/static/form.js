// The fields of a task that most people need. Each field reads and writes its own place in the document.

import { fill, h } from "./dom.js";

/** Draw the form for `editor.task`; `onChange` is called after each change of it. */
export function drawForm(form, editor, onChange) {
  const redraw = () => {
    onChange();
    drawForm(form, editor, onChange);
  };
  const task = editor.task;
  const list = (name) => (Array.isArray(task[name]) ? task[name] : (task[name] = []));
  const resources = () => (task.resources ??= {});
  const resource = (name, label, step) => field(label, task.resources?.[name], (value) => set(resources(), name, value === "" ? "" : Number(value)), onChange, { type: "number", min: 0, step });
  fill(
    form,
    h("div", { class: "fields" }, field("Name", task.name, (value) => set(task, "name", value), onChange), field("Description", task.description, (value) => set(task, "description", value), onChange)),
    group("Executors", "Programs in containers, one after the other.", asList(task.executors), (one, at) => executor(one, at, onChange), "executor", {
      add: () => list("executors").push({ image: "busybox:latest", command: ["sh", "-c", "true"] }),
      remove: (at) => list("executors").splice(at, 1),
      redraw,
    }),
    group("Inputs", "Files that are there before the first program begins.", asList(task.inputs), (one) => input(one, onChange, redraw), "input", {
      add: () => list("inputs").push({ path: "/data/input.txt", content: "" }),
      remove: (at) => dropFrom(task, "inputs", at),
      redraw,
    }),
    group("Outputs", "Files that are sent away when all have ended.", asList(task.outputs), (one) => output(one, onChange), "output", {
      add: () => list("outputs").push({ path: "/results/output.txt", url: "" }),
      remove: (at) => dropFrom(task, "outputs", at),
      redraw,
    }),
    h("fieldset", null, h("legend", null, "Resources"), h("div", { class: "fields" }, resource("cpu_cores", "Cores", 1), resource("ram_gb", "Memory (GB)", "any"), resource("disk_gb", "Disk (GB)", "any"))),
  );
}

const asList = (value) => (Array.isArray(value) ? value.filter((one) => one && typeof one === "object") : []);

function dropFrom(task, name, at) {
  task[name].splice(at, 1);
  if (!task[name].length) delete task[name];
}

function set(place, name, value) {
  if (value === "") delete place[name];
  else place[name] = value;
}

function field(label, value, write, onChange, props = {}) {
  const tag = props.rows ? "textarea" : "input";
  const oninput = (event) => {
    write(event.target.value);
    onChange();
  };
  return h("label", props.wide ? { class: "wide" } : null, h("span", null, label), h(tag, { ...props, wide: null, value: value ?? "", oninput, autocomplete: "off", spellcheck: "false" }));
}

function group(title, about, items, draw, word, { add, remove, redraw }) {
  const plus = h("button", { type: "button", class: "quiet", onclick: () => (add(), redraw()) }, `Add ${word}`);
  return h(
    "fieldset",
    null,
    h("legend", null, title),
    h("p", { class: "faint" }, about),
    items.map((one, at) => h("div", { class: "item" }, draw(one, at), h("button", { type: "button", class: "quiet remove", "aria-label": `Remove ${word} ${at + 1}`, onclick: () => (remove(at), redraw()) }, "Remove"))),
    plus,
  );
}

/** An executor; its command is shown as a script where it is one for `sh -c`, else an argument a line. */
function executor(one, at, onChange) {
  const command = Array.isArray(one.command) ? one.command : [];
  const isScript = command.length === 3 && command[0] === "sh" && command[1] === "-c";
  const write = (text) => (one.command = isScript ? ["sh", "-c", text] : text.split("\n").filter(Boolean));
  const value = isScript ? command[2] : command.join("\n");
  const rows = Math.min(8, Math.max(2, value.split("\n").length));
  return [
    field("Image", one.image, (text) => (one.image = text), onChange),
    field(isScript ? "Script for sh" : "Command, an argument a line", value, write, onChange, { rows, wide: true, class: "code" }),
  ];
}

function input(one, onChange, redraw) {
  const isContent = one.content !== undefined && one.content !== null;
  return [
    field("Path in the container", one.path, (text) => (one.path = text), onChange),
    isContent
      ? field("Content", one.content, (text) => (one.content = text), onChange, { rows: Math.min(6, Math.max(2, String(one.content).split("\n").length)), wide: true, class: "code" })
      : field("URL", one.url, (text) => set(one, "url", text), onChange, { wide: true }),
    h("label", { class: "switch" }, h("input", { type: "checkbox", checked: isContent, onchange: (event) => (swap(one, event.target.checked), redraw()) }), "its content is in the task itself"),
  ];
}

/** From a URL to a content, or back. */
function swap(one, toContent) {
  delete one[toContent ? "url" : "content"];
  one[toContent ? "content" : "url"] = "";
}

function output(one, onChange) {
  return [
    field("Path in the container", one.path, (text) => (one.path = text), onChange),
    field("URL", one.url, (text) => set(one, "url", text), onChange, { wide: true }),
  ];
}
