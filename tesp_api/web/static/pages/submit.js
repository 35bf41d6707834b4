// A new task: a form and its JSON, which are two views of one document. What the form does not know stays as it is.

import { get, post, TES, TESP } from "../api.js";
import { announce, fill, h, throttled } from "../dom.js";
import { EXAMPLES } from "../examples.js";
import { drawForm } from "../form.js";
import { faultList, problem, section } from "../parts.js";

const READ_ONLY = ["id", "state", "logs", "creation_time"];
const OWN_TAGS = /^wes\./; // of steps of runs: a copy belongs to no run

export async function render(main, { query, signal, go }) {
  const from = query.get("from");
  const start = from ? await copyOf(from, signal) : structuredClone(EXAMPLES[0].task);
  const editor = { task: start };
  const text = h("textarea", { class: "json", rows: 24, spellcheck: "false", autocomplete: "off", "aria-label": "The task as JSON" });
  const form = h("form", { class: "task-form", id: "task-form", novalidate: true });
  const verdict = h("div", { class: "verdict", role: "status" });
  const trouble = h("div");
  const submit = h("button", { type: "submit", class: "main", form: "task-form" }, "Submit the task");
  const examples = EXAMPLES.map((one) => h("button", { type: "button", class: "example", onclick: () => use(structuredClone(one.task)) }, h("b", null, one.title), h("span", null, one.about)));

  const writeText = () => (text.value = JSON.stringify(editor.task, null, 2));
  const check = throttled(() => validate(editor.task, verdict, signal), 500, signal);
  const onForm = () => {
    writeText();
    check();
  };
  const use = (task) => {
    editor.task = task;
    drawForm(form, editor, onForm);
    onForm();
  };
  text.addEventListener("input", () => {
    try {
      editor.task = taskIn(text.value);
    } catch (error) {
      submit.disabled = true;
      fill(verdict, h("p", { class: "wrong" }, `This is no JSON document of a task: ${error.message}`));
      return;
    }
    submit.disabled = false;
    drawForm(form, editor, onForm);
    check();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    trouble.replaceChildren();
    try {
      const { id } = await post(`${TES}/tasks`, editor.task);
      announce("The task is created");
      await go(`tasks/${encodeURIComponent(id)}`);
      main.querySelector("h1")?.focus();
    } catch (error) {
      fill(trouble, problem(error));
      submit.disabled = false;
    }
  });

  fill(
    main,
    h("div", { class: "title" }, h("h1", { tabindex: -1 }, from ? "Resubmit a task" : "New task")),
    from
      ? h("p", { class: "faint" }, "A copy of ", h("a", { href: `tasks/${encodeURIComponent(from)}` }, "that task"), ". Logins that were in its URLs are not kept by the server: put them in again where they are needed.")
      : section("Begin with an example", { class: "examples" }, h("div", null, examples)),
    h("div", { class: "columns editor" }, section("Form", { class: "card" }, form), section("JSON", { class: "card" }, text)),
    h("div", { class: "submit-bar" }, trouble, verdict, submit),
  );
  use(start);
}

async function copyOf(id, signal) {
  const task = await get(`${TES}/tasks/${encodeURIComponent(id)}`, { view: "FULL" }, signal);
  for (const name of READ_ONLY) delete task[name];
  for (const name of Object.keys(task.tags ?? {})) if (OWN_TAGS.test(name)) delete task.tags[name];
  if (task.tags && !Object.keys(task.tags).length) delete task.tags;
  return task;
}

function taskIn(text) {
  const task = JSON.parse(text);
  if (typeof task !== "object" || task === null || Array.isArray(task)) throw new Error("it is no object");
  return task;
}

/** Ask the server what it would say, and show that. */
async function validate(task, verdict, signal) {
  try {
    const said = await post(`${TESP}/tasks:validate`, task, signal);
    fill(
      verdict,
      said.valid
        ? h("p", { class: "right" }, said.destination ? ["This task can run; now it would go to ", h("b", null, said.destination), "."] : "This task can run.")
        : [h("p", { class: "wrong" }, "The server would refuse this:"), faultList(said.faults)],
      said.warnings.length ? h("ul", { class: "faults" }, said.warnings.map((line) => h("li", null, line))) : null,
    );
  } catch (error) {
    if (!signal.aborted) fill(verdict, problem(error));
  }
}
