// The list of workflow runs, the newest first.

import { get, WES } from "../api.js";
import { every, fill, h, keyed } from "../dom.js";
import { count, duration, millis, timeAgo } from "../format.js";
import { action, empty, problem } from "../parts.js";
import { badge, FINAL, setBadge, stateOf } from "../states.js";

const PAGE_SIZE = 50;

export async function render(main, { signal }) {
  const runs = new Map();
  let next = "";
  const body = h("tbody");
  const table = h("table", { class: "list runs" }, h("caption", { class: "unseen" }, "Workflow runs, the newest first"), h("thead", null, h("tr", null, ["State", "Run", "Started", "Took"].map((text) => h("th", { scope: "col" }, text)))), body);
  const after = h("div", { class: "after" });
  const trouble = h("div");
  const told = h("p", { class: "faint" });
  fill(main, h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Workflow runs")), told, trouble, table, after);

  const take = (answer, isFirst) => {
    for (const run of answer.runs) runs.set(run.run_id, run);
    if (!isFirst || runs.size <= PAGE_SIZE) next = answer.next_page_token;
    keyed(body, [...runs.values()].sort((a, b) => (a.run_id < b.run_id ? 1 : -1)), (run) => run.run_id, makeRow, updateRow);
    table.hidden = !runs.size;
    fill(after, !runs.size ? nothing() : next ? action("Load more", async () => take(await page(next)), { place: trouble }) : null);
  };
  const page = (token) => get(`${WES}/runs`, { page_size: PAGE_SIZE, page_token: token }, signal);
  const refresh = async () => {
    const [info, first] = await Promise.all([get(`${WES}/service-info`, {}, signal), page("")]);
    const counts = Object.entries(info.system_state_counts).filter(([, number]) => number);
    told.textContent = counts.map(([name, number]) => `${count(number)} ${stateOf(name).label.toLowerCase()}`).join(" · ");
    take(first, true);
    trouble.replaceChildren();
  };
  await refresh();
  every(3000, signal, () => refresh().catch((error) => signal.aborted || fill(trouble, problem(error))));
}

function makeRow(run) {
  const name = run.tags?.name || "Workflow run";
  const tags = Object.entries(run.tags ?? {}).filter(([key]) => key !== "name").slice(0, 4);
  return h(
    "tr",
    null,
    h("td", { class: "state" }, badge(run.state)),
    h("td", { class: "what" }, h("a", { href: `runs/${encodeURIComponent(run.run_id)}` }, name), h("span", { class: "id" }, run.run_id), tags.map(([key, value]) => h("span", { class: "tag" }, `${key}=${value}`))),
    h("td", { class: "when" }, timeAgo(run.start_time)),
    h("td", { class: "took" }),
  );
}

function updateRow(node, run) {
  setBadge(node.querySelector(".badge"), run.state);
  const end = run.end_time ? millis(run.end_time) : FINAL.has(run.state) ? NaN : Date.now();
  node.lastChild.textContent = duration(end - millis(run.start_time)).replace(/\.\d s/, " s");
}

function nothing() {
  return empty("There are no workflow runs yet.", "Start one by ", h("code", null, "tesp run submit workflow.cwl params.yml"), " or any WES client: each of its steps is a task, and this page draws them.");
}
