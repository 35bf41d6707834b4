// One task: what it is, where it is, what it prints, and what became of its files.

import { download, get, post, TES, TESP } from "../api.js";
import { timeChart } from "../chart.js";
import { announce, every, fill, h, keyed, throttled } from "../dom.js";
import { fileTables } from "../files.js";
import { duration, millis, moment, plural, timeAgo } from "../format.js";
import { follow } from "../live.js";
import { logView } from "../logview.js";
import { action, copyButton, facts, liveMark, problem, section, tabs } from "../parts.js";
import { badge, FINAL, setBadge } from "../states.js";
import { phases, transfers } from "../timeline.js";

export async function render(main, { id, signal, go }) {
  const path = `${TESP}/tasks/${encodeURIComponent(id)}`;
  const known = { task: null, history: [], events: [] };
  await readAll(id, path, known, signal);
  const view = build(main, { id, path, known, signal, go });
  view.draw();
  if (FINAL.has(known.task.state)) {
    view.live.show("ended");
    view.files.reload().catch(() => {});
    return;
  }
  every(1000, signal, () => FINAL.has(known.task.state) || view.drawTime());
  follow(`${path}/events`, {
    query: { logs: "false" },
    signal,
    onStatus: view.live.show,
    onEvent: (name, data) => onEvent(name, data, known, view),
    async poll() {
      const before = known.task.state;
      await readAll(id, path, known, signal);
      view.draw();
      const isOver = FINAL.has(known.task.state);
      if (isOver) await view.atEnd(before);
      return isOver;
    },
  });
}

async function readAll(id, path, known, signal) {
  const [task, history, events] = await Promise.all([
    get(`${TES}/tasks/${encodeURIComponent(id)}`, { view: "FULL" }, signal),
    get(`${path}/history`, {}, signal),
    get(`${path}/events`, {}, signal),
  ]);
  known.task = task;
  known.history = history.history;
  known.waitsFor = history.waits_for;
  known.events = events.events.map((event) => ({ ...event, attempt: events.attempt }));
}

function onEvent(name, data, known, view) {
  if (name === "state") {
    const entry = { ...data, time: data.at };
    if (known.history.some((one) => millis(one.time) === millis(entry.time) && one.state === entry.state)) return;
    known.history.push(entry);
    known.waitsFor = null;
    known.task.state = data.state;
    view.later();
  } else if (name === "worker") {
    if (known.events.some((one) => one.seq === data.seq && one.attempt === data.attempt)) return;
    known.events.push(data);
    view.drawSoon();
    if (data.event === "executor_ended") view.later();
  } else if (name === "end") {
    known.task.state = data.state;
    view.atEnd();
  }
}

function build(main, { id, path, known, signal, go }) {
  const { task } = known;
  const live = liveMark();
  const trouble = h("div");
  const buttons = h("div", { class: "buttons" });
  const summary = h("div");
  const notes = h("div");
  const chart = timeChart("Timeline of the task", signal);
  const files = fileTables(id, signal);
  const history = h("ol", { class: "history" });
  const json = h("pre", { class: "json", tabindex: 0 });
  const programs = h("div");
  const logs = logTabs({ id, path, known, signal });
  let state = badge(task.state);
  main.dataset.title = task.name || id;
  fill(
    main,
    h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "tasks" }, "Tasks"), task.tags?.["wes.run_id"] ? [" / ", h("a", { href: `runs/${encodeURIComponent(task.tags["wes.run_id"])}` }, "Run")] : null),
    h("div", { class: "title" }, h("h1", { tabindex: -1, class: task.name ? null : "faint" }, task.name || "Unnamed task"), state, live.node, buttons),
    h("p", { class: "id" }, h("code", null, id), copyButton(id, "task's id")),
    task.description ? h("p", { class: "description" }, task.description) : null,
    trouble,
    summary,
    notes,
    section("Timeline", { class: "card" }, chart.node),
    section("Logs", { class: "card", id: "logs" }, logs.node),
    h("div", { class: "columns" }, section("Inputs", { class: "card" }, files.inputs), section("Outputs", { class: "card" }, files.outputs)),
    h("div", { class: "columns" }, section("Executors", { class: "card" }, programs), section("History", { class: "card" }, history)),
    jsonCard(json, known, id),
  );

  const view = {
    live,
    files,
    draw() {
      const now = known.task;
      state = setBadge(state, now.state);
      fill(summary, summaryOf(known));
      fill(notes, waitsFor(known), notesOf(now));
      fill(programs, executors(now));
      drawButtons(buttons, { known, id, trouble, go, view });
      keyed(history, known.history, (entry) => `${entry.time} ${entry.state} ${entry.reason}`, historyRow);
      json.textContent = JSON.stringify(now, null, 2);
      logs.update(now);
      view.drawTime();
    },
    drawTime() {
      const rows = phases(known);
      chart.draw(rows);
      files.draw(known.task, transfers(known.events));
      summary.querySelector("[data-took]")?.replaceChildren(tookOf(known));
    },
    async atEnd() {
      await readAll(id, path, known, signal);
      view.draw();
      announce(`The task has ended: ${known.task.state}`);
      await files.reload();
    },
  };
  view.drawSoon = throttled(view.drawTime, 200, signal);
  view.later = throttled(async () => {
    known.task = await get(`${TES}/tasks/${encodeURIComponent(id)}`, { view: "FULL" }, signal).catch(() => known.task);
    if (!signal.aborted) view.draw();
  }, 400, signal);
  return view;
}

function drawButtons(node, { known, id, trouble, go, view }) {
  const isLive = !FINAL.has(known.task.state) && known.task.state !== "CANCELING";
  const key = isLive ? "live" : "over";
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  const cancel = async () => {
    await post(`${TES}/tasks/${encodeURIComponent(id)}:cancel`);
    announce("The task is being canceled");
    view.later();
  };
  fill(
    node,
    isLive ? action("Cancel", cancel, { place: trouble, kind: "danger" }) : null,
    h("button", { type: "button", onclick: () => go(`submit?from=${encodeURIComponent(id)}`) }, "Resubmit"),
  );
}

function summaryOf({ task, history }) {
  const log = task.logs?.at(-1) ?? {};
  const about = log.metadata ?? {};
  const resources = task.resources ?? {};
  const asked = [
    resources.cpu_cores && plural(resources.cpu_cores, "core"),
    resources.ram_gb && `${resources.ram_gb} GB memory`,
    resources.disk_gb && `${resources.disk_gb} GB disk`,
    resources.preemptible && "preemptible",
    resources.zones?.length && `zones ${resources.zones.join(", ")}`,
  ].filter(Boolean);
  const attempts = history.at(-1)?.attempt ?? 0;
  const parameters = Object.entries(resources.backend_parameters ?? {}).map(([key, value]) => h("span", { class: "tag" }, `${key}=${value}`));
  const tags = Object.entries(task.tags ?? {}).map(([key, value]) => h("span", { class: "tag" }, value ? `${key}=${value}` : key));
  return facts([
    ["Created", timeAgo(task.creation_time)],
    ["Took", h("span", { "data-took": "" }, tookOf({ task, history }))],
    ["Destination", about.destination],
    ["Host", about.host],
    ["Runtime", about.runtime],
    ["Attempts", attempts > 1 ? attempts : null],
    ["Resources", asked.length ? asked.join(", ") : "none asked for"],
    ["Parameters", parameters.length ? parameters : null],
    ["Volumes", task.volumes?.length ? h("code", null, task.volumes.join(" ")) : null],
    ["Tags", tags.length ? tags : null],
  ]);
}

function tookOf({ task, history }) {
  const end = FINAL.has(task.state) ? millis(history.at(-1)?.time) : Date.now();
  return duration(end - millis(task.creation_time));
}

/** Why a task has not begun, as its history tells, or the server, while none has taken it. */
function waitsFor({ task, history, waitsFor: untold }) {
  if (task.state === "QUEUED" && untold) return h("p", { class: "waits" }, `waits: ${untold}`);
  const reason = task.state === "QUEUED" && history.at(-1)?.reason;
  return reason && reason !== "created" ? h("p", { class: "waits" }, reason) : null;
}

/** What is worth knowing first: why it failed, and what the server noted. */
function notesOf(task) {
  const told = task.logs?.at(-1)?.system_logs ?? [];
  if (!told.length) return null;
  const isBad = ["EXECUTOR_ERROR", "SYSTEM_ERROR", "PREEMPTED"].includes(task.state);
  const cause = isBad ? told.at(-1) : null;
  const rest = cause ? told.slice(0, -1) : told;
  return [
    cause ? h("p", { class: "cause" }, cause) : null,
    rest.length ? h("details", { class: "notes" }, h("summary", null, `System log, ${plural(rest.length, "line")}`), h("ul", null, rest.map((line) => h("li", null, line)))) : null,
  ];
}

function historyRow(entry) {
  return h("li", null, badge(entry.state), h("time", { datetime: entry.time }, moment(entry.time)), h("p", null, entry.reason, entry.attempt > 1 ? h("span", { class: "tag" }, `attempt ${entry.attempt}`) : null));
}

function executors(task) {
  return h(
    "ol",
    { class: "executors" },
    task.executors.map((one, at) => {
      const log = task.logs?.at(-1)?.logs?.[at];
      const env = Object.entries(one.env ?? {});
      return h(
        "li",
        null,
        h("div", null, h("code", { class: "image" }, one.image), one.ignore_error ? h("span", { class: "tag" }, "may fail") : null, log ? exit(log) : null),
        h("pre", { tabindex: 0 }, one.command.map(quoted).join(" ")),
        facts([
          ["Folder", one.workdir],
          ["stdin", one.stdin],
          ["stdout", one.stdout],
          ["stderr", one.stderr],
          ["Environment", env.length ? h("code", null, env.map(([key, value]) => `${key}=${value}`).join("\n")) : null],
        ]),
      );
    }),
  );
}

/** How an executor ended. */
function exit({ exit_code: code, start_time: start, end_time: end }) {
  return h("span", { class: `exit tone-${code ? "bad" : "good"}` }, `exit code ${code}`, end ? ` · ${duration(millis(end) - millis(start))}` : "");
}

/** An argument as one would type it into a shell. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A tab for each stream of each executor; the log that is chosen is followed. */
function logTabs({ path, known, id, signal }) {
  const count = known.task.executors.length;
  const streams = Array.from({ length: count }, (_, number) => ["stdout", "stderr"].map((name) => ({ number, name }))).flat();
  const names = streams.map(({ number, name }) => (count > 1 ? `${number + 1} ${name}` : name));
  const host = h("div");
  let stop = new AbortController();
  let shown = { at: -1, attempt: 0 };
  let isChosen = false;
  const show = (at) => {
    const attempt = attemptOf(known);
    if (shown.at === at && shown.attempt === attempt) return;
    shown = { at, attempt };
    stop.abort();
    stop = new AbortController();
    if (!attempt) {
      fill(host, h("p", { class: "faint" }, "Nothing yet: the task waits for its place."));
      return;
    }
    const { number, name } = streams[at];
    fill(host, logView({ path: `${path}/logs/${number}/${name}`, query: { attempt }, name: `${id}-${number}-${name}.txt`, signal: stop.signal, label: `${name} of executor ${number + 1}` }));
  };
  signal.addEventListener("abort", () => stop.abort());
  const bar = tabs("Outputs of the executors", names, (at) => {
    isChosen = true;
    show(at);
  });
  bar.choose(0);
  isChosen = false;
  return {
    node: h("div", null, bar.node, host),
    update() {
      if (!isChosen && !FINAL.has(known.task.state)) {
        const running = known.events.filter((one) => one.event === "executor_started").at(-1)?.executor ?? 0;
        if (running * 2 !== shown.at || shown.attempt !== attemptOf(known)) bar.choose(running * 2);
        isChosen = false;
      } else show(shown.at);
    },
  };
}

const attemptOf = ({ history }) => history.at(-1)?.attempt ?? 0;

function jsonCard(pre, known, id) {
  const text = () => JSON.stringify(known.task, null, 2);
  return h(
    "details",
    { class: "card json-card" },
    h("summary", null, h("h2", null, "JSON")),
    h("div", { class: "log-bar" }, copyButton(text, "JSON"), h("button", { type: "button", class: "quiet", onclick: () => download(`${TES}/tasks/${encodeURIComponent(id)}`, { view: "FULL" }, `${id}.json`).catch((error) => pre.before(problem(error))) }, "Download")),
    pre,
  );
}
