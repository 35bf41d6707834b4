// One workflow run: its steps as a graph and over time, its log, its outputs.

import { download, get, post, TES, TESP, WES } from "../api.js";
import { timeChart } from "../chart.js";
import { announce, every, fill, h, throttled } from "../dom.js";
import { bytes, duration, millis, plural, timeAgo } from "../format.js";
import { stepGraph } from "../graph.js";
import { follow } from "../live.js";
import { logView } from "../logview.js";
import { action, copyButton, facts, liveMark, section } from "../parts.js";
import { badge, FINAL, setBadge } from "../states.js";
import { groupsOf, stepRows } from "../steps.js";

const STEPS_PAGE = 1000;
const TASKS_PAGE = 500;

export async function render(main, { id, signal }) {
  const paths = { run: `${WES}/runs/${encodeURIComponent(id)}`, extra: `${TESP}/runs/${encodeURIComponent(id)}` };
  const known = { run: null, steps: new Map(), tasks: new Map() };
  await readAll(id, paths, known, signal);
  const view = build(main, { id, paths, known, signal });
  view.draw();
  if (FINAL.has(known.run.state)) {
    view.live.show("ended");
    return;
  }
  const reread = async () => {
    await readAll(id, paths, known, signal);
    view.draw();
    return FINAL.has(known.run.state);
  };
  const readTasks = throttled(async () => {
    await readTasksOf(id, known, signal).catch(() => {});
    if (!signal.aborted) view.draw();
  }, 1000, signal);
  every(1000, signal, () => FINAL.has(known.run.state) || view.drawTime());
  follow(`${paths.extra}/events`, {
    signal,
    poll: reread,
    onStatus: view.live.show,
    onEvent(name, data) {
      if (name === "step") {
        const before = known.steps.get(data.task_id);
        known.steps.set(data.task_id, { ...before, ...data });
        if (before?.state !== data.state) readTasks();
        view.drawSoon();
      } else if (name === "state") {
        known.run.state = data.state;
        view.drawSoon();
      } else if (name === "end") {
        reread().then(() => announce(`The run has ended: ${data.state}`)).catch(() => {});
      }
    },
  });
}

async function readAll(id, paths, known, signal) {
  known.run = await get(paths.run, {}, signal);
  let token = "";
  do {
    const page = await get(`${paths.extra}/steps`, { page_size: STEPS_PAGE, page_token: token }, signal);
    for (const step of page.steps) known.steps.set(step.task_id, step);
    token = page.next_page_token;
  } while (token);
  await readTasksOf(id, known, signal);
}

/** The tasks of the steps: their times, and the files by which one leads to the next. Ended ones stay as they are. */
async function readTasksOf(id, known, signal) {
  const isOld = (task) => FINAL.has(task?.state) && task.logs?.length;
  const missing = [...known.steps.keys()].filter((task) => !isOld(known.tasks.get(task)));
  if (!missing.length) return;
  if (missing.length > 10 || !known.tasks.size) {
    let token = "";
    do {
      const page = await get(`${TES}/tasks`, { view: "BASIC", tag_key: "wes.run_id", tag_value: id, page_size: TASKS_PAGE, page_token: token }, signal);
      for (const task of page.tasks) known.tasks.set(task.id, task);
      token = page.next_page_token;
    } while (token);
  }
  // Steps that were taken over from an earlier run have tasks of that one.
  const others = missing.filter((task) => !known.tasks.has(task) || missing.length <= 10).slice(0, 50);
  await Promise.all(
    others.map(async (task) => {
      const found = await get(`${TES}/tasks/${encodeURIComponent(task)}`, { view: "BASIC" }, signal).catch(() => null);
      if (found) known.tasks.set(task, found);
    }),
  );
}

function build(main, { id, paths, known, signal }) {
  const { run } = known;
  const live = liveMark();
  const trouble = h("div");
  const buttons = h("div", { class: "buttons" });
  const summary = h("div");
  const notes = h("div");
  const graph = stepGraph(signal);
  const chart = timeChart("Steps over time", signal);
  const more = h("p", { class: "faint" });
  const outputs = h("div");
  let state = badge(run.state);
  const name = run.request.tags?.name || run.request.workflow_url;
  main.dataset.title = name;
  fill(
    main,
    h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "runs" }, "Runs")),
    h("div", { class: "title" }, h("h1", { tabindex: -1 }, name), state, live.node, buttons),
    h("p", { class: "id" }, h("code", null, id), copyButton(id, "run's id")),
    trouble,
    summary,
    notes,
    section("Steps", { class: "card" }, graph.node),
    section("Over time", { class: "card" }, chart.node, more),
    h("div", { class: "columns" }, section("Outputs", { class: "card" }, outputs), section("Params", { class: "card" }, h("pre", { class: "json", tabindex: 0 }, JSON.stringify(run.request.workflow_params ?? {}, null, 2)))),
    section("Log of the engine", { class: "card" }, logView({ path: `${paths.extra}/logs/stderr`, name: `${id}-stderr.txt`, signal, label: "Log of the engine" })),
  );
  const view = {
    live,
    draw() {
      state = setBadge(state, known.run.state);
      fill(summary, summaryOf(known));
      fill(notes, notesOf(known.run));
      drawButtons(buttons, { known, paths, trouble });
      fill(outputs, outputsOf(known.run, paths, id));
      graph.draw({ ...groupsOf(known), run: id });
      view.drawTime();
    },
    drawTime() {
      const { rows, left } = stepRows(known);
      chart.draw(rows);
      more.textContent = left ? `The ${rows.length} steps that began last are drawn; ${plural(left, "other")} are in the list of tasks.` : rows.length ? "" : "Steps appear as the engine comes to them.";
      summary.querySelector("[data-took]")?.replaceChildren(tookOf(known.run));
    },
  };
  view.drawSoon = throttled(view.draw, 300, signal);
  return view;
}

function drawButtons(node, { known, paths, trouble }) {
  const isLive = !FINAL.has(known.run.state) && known.run.state !== "CANCELING";
  if (node.dataset.key === String(isLive)) return;
  node.dataset.key = String(isLive);
  const cancel = async () => {
    await post(`${paths.run}/cancel`);
    announce("The run is being canceled");
  };
  fill(node, isLive ? action("Cancel", cancel, { place: trouble, kind: "danger" }) : null);
}

function summaryOf({ run, steps }) {
  const done = [...steps.values()].filter((step) => step.state === "COMPLETE").length;
  const { request } = run;
  return facts([
    ["Workflow", h("code", null, request.workflow_url)],
    ["Language", `${request.workflow_type} ${request.workflow_type_version ?? ""}`],
    ["Started", timeAgo(run.run_log.start_time)],
    ["Took", h("span", { "data-took": "" }, tookOf(run))],
    ["Steps", steps.size ? `${done} of ${plural(steps.size, "step")} complete` : "none yet"],
    ["Tasks", h("a", { href: `tasks?tag_key=wes.run_id&tag_value=${encodeURIComponent(run.run_id)}` }, "as a list")],
  ]);
}

function tookOf(run) {
  const begin = millis(run.run_log.start_time);
  const end = FINAL.has(run.state) ? millis(run.run_log.end_time) : Date.now();
  return Number.isNaN(begin) ? "–" : duration(end - begin);
}

function notesOf(run) {
  const told = run.run_log.system_logs ?? [];
  const isBad = ["EXECUTOR_ERROR", "SYSTEM_ERROR"].includes(run.state);
  if (!told.length) return null;
  return isBad ? h("p", { class: "cause" }, told.at(-1)) : h("details", { class: "notes" }, h("summary", null, `System log, ${plural(told.length, "line")}`), h("ul", null, told.map((line) => h("li", null, line))));
}

function outputsOf(run, paths, id) {
  const files = filesIn(run.outputs);
  const isEmpty = !Object.keys(run.outputs ?? {}).length;
  if (isEmpty) return h("p", { class: "faint" }, FINAL.has(run.state) ? "The run left none." : "They are told when the run has ended.");
  const place = h("div");
  return [
    place,
    h("ul", { class: "plain" }, files.map((file) => fileRow(file, paths, place))),
    files.length ? action("Download all (zip)", () => download(`${paths.extra}/outputs.zip`, {}, `${id}-outputs.zip`), { place }) : null,
    h("details", null, h("summary", null, "As JSON"), h("pre", { class: "json", tabindex: 0 }, JSON.stringify(run.outputs, null, 2))),
  ];
}

function fileRow(file, paths, place) {
  const marker = "/tesp/v1/runs/";
  const own = file.location.includes(marker) ? `tesp/v1/runs/${file.location.split(marker)[1]}` : null;
  const name = file.basename ?? file.location.split("/").pop();
  return h("li", null, h("div", { class: "path" }, h("code", null, name), file.class === "Directory" ? h("span", { class: "tag" }, "directory") : null, h("span", { class: "size" }, file.size === undefined ? "" : bytes(file.size)), own && file.class !== "Directory" ? action("Download", () => download(own, {}, name), { kind: "quiet", place }) : null), file.checksum ? h("div", { class: "sum" }, h("code", null, file.checksum)) : null);
}

/** The files among the outputs, however deep. */
function filesIn(value) {
  if (Array.isArray(value)) return value.flatMap(filesIn);
  if (!value || typeof value !== "object") return [];
  if (["File", "Directory"].includes(value.class) && value.location) return [value, ...filesIn(value.secondaryFiles)];
  return Object.values(value).flatMap(filesIn);
}

