// The list of tasks, the newest first, with filters that are kept in the address.

import { about, get, TESP, whoAmI } from "../api.js";
import { every, fill, h, icon, keyed, throttled } from "../dom.js";
import { count, duration, middleOut, millis, timeAgo } from "../format.js";
import { follow } from "../live.js";
import { action, empty, liveMark, problem } from "../parts.js";
import { badge, FINAL, setBadge, STATES, stateOf } from "../states.js";

const PAGE_SIZE = 50;
const SHOWN_MOST = 1000;
const FILTERS = ["name_prefix", "tag_key", "tag_value", "destination", "owner", "since", "created_after", "created_before"];
const TYPED = FILTERS.slice(0, 3);
const TIMES = { "": "Any time", 1: "Last hour", 24: "Last 24 hours", 168: "Last 7 days", 720: "Last 30 days", range: "From … to …" };
const RARE_STATES = new Set(["CANCELING", "PREEMPTED"]);
const SHOWN_STATES = Object.keys(STATES).filter((name) => !["PAUSED", "UNKNOWN"].includes(name));

let applied = null; // the form whose filters were applied: it is drawn anew, with what was typed meanwhile and the focus

export async function render(main, { query, signal, go }) {
  const list = { rows: new Map(), next: "", isLoaded: false };
  const live = liveMark();
  const chips = h("div", { class: "chips", role: "group", "aria-label": "States" });
  const body = h("tbody");
  const after = h("div", { class: "after" });
  const trouble = h("div");
  const table = h("table", { class: "list tasks" }, h("caption", { class: "unseen" }, "Tasks, the newest first"), head(), body);
  const chosen = new Set(query.getAll("state"));
  const form = filterForm(query, (changes) => apply(changes));
  const focused = applied && document.activeElement;
  if (applied) takeOver(applied, form.node);
  applied = null;
  fill(
    main,
    h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Tasks"), live.node, h("a", { class: "button main", href: "submit" }, icon("M8 3v10M3 8h10"), "New task")),
    chips,
    form.node,
    trouble,
    table,
    after,
  );

  const apply = (changes) => {
    applied = form.node;
    const next = new URLSearchParams(query);
    for (const [name, value] of Object.entries(changes)) {
      next.delete(name);
      for (const one of [value].flat()) if (one) next.append(name, one);
    }
    const text = next.toString();
    go(`tasks${text ? `?${text}` : ""}`, { replace: true });
  };
  const drawChips = (counts) => {
    keyed(chips, SHOWN_STATES, (name) => name, (name) => chip(name, chosen, () => apply({ state: toggled(chosen, name) })), (node, name) => {
      node.lastChild.textContent = counts ? count(counts[name] ?? 0) : "·";
      node.classList.toggle("none", !counts?.[name]);
      node.hidden = RARE_STATES.has(name) && !counts?.[name] && !chosen.has(name);
    });
  };
  const draw = () => {
    const rows = [...list.rows.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
    keyed(body, rows, (row) => row.id, makeRow, updateRow);
    table.hidden = !rows.length;
    if (!list.isLoaded) return;
    fill(after, rows.length ? afterRows(rows.length) : nothing(query));
  };
  const afterRows = (shown) => {
    if (!list.next) return h("p", { class: "faint" }, shown < PAGE_SIZE ? "" : "That is all.");
    if (shown >= SHOWN_MOST) return h("p", { class: "faint" }, `${count(shown)} tasks are shown. Narrow the list by filters to see others.`);
    return action("Load more", async () => take(await page(list.next)), { place: trouble });
  };
  const page = (token) => get(`${TESP}/tasks`, { ...queryOf(query), page_size: PAGE_SIZE, page_token: token }, signal);
  const take = (got) => {
    for (const row of got.tasks) list.rows.set(row.id, row);
    list.next = got.next_page_token ?? "";
    list.isLoaded = true;
    draw();
  };
  /** The newest tasks again: what is no longer among them, and is not older, does not fit the filters any more. */
  const refresh = async () => {
    const got = await page("");
    const oldest = got.next_page_token ? (got.tasks.at(-1)?.id ?? "") : "";
    const wasLonger = [...list.rows.keys()].some((id) => id < oldest);
    const ids = new Set(got.tasks.map((row) => row.id));
    for (const id of list.rows.keys()) if (id >= oldest && !ids.has(id)) list.rows.delete(id);
    take({ ...got, next_page_token: wasLonger ? list.next : got.next_page_token });
    trouble.replaceChildren();
  };
  const later = throttled(() => refresh().catch(() => {}), 1500, signal);

  drawChips(null);
  draw();
  if (focused?.dataset.key) focusAs(focused, main.querySelector(`[data-key="${focused.dataset.key}"]`));
  const poll = async () => {
    const [counts] = await Promise.all([get(`${TESP}/counts`, {}, signal), refresh()]);
    drawChips(counts.states);
    return false;
  };
  form.fillChoices(signal);
  await poll().catch((error) => !signal.aborted && fill(trouble, problem(error, () => go(location.href, { replace: true }))));
  every(1000, signal, () => {
    for (const row of list.rows.values()) if (!FINAL.has(row.state)) updateRow(body._keyed.get(row.id), row);
  });
  follow(`${TESP}/events`, {
    signal,
    poll,
    onStatus: live.show,
    onEvent(name, data) {
      if (name === "counts") drawChips(data.states);
      else if (name === "gap") later();
      else if (name === "task") {
        const row = list.rows.get(data.id);
        if (row) {
          Object.assign(row, { state: data.state, attempt: data.attempt }, FINAL.has(data.state) ? { ended_at: row.ended_at ?? data.at } : {});
          updateRow(body._keyed.get(row.id), row);
        }
        later();
      }
    },
  });
}

const toggled = (chosen, name) => (chosen.has(name) ? [...chosen].filter((one) => one !== name) : [...chosen, name]);

function chip(name, chosen, onclick) {
  const { label, tone, shape } = stateOf(name);
  return h("button", { type: "button", class: `chip tone-${tone}`, "aria-pressed": String(chosen.has(name)), "data-key": name, onclick }, icon(shape), h("span", null, label), h("b", null, ""));
}

function head() {
  return h("thead", null, h("tr", null, ["State", "Task", "Destination", "Image", "Created", "Took"].map((text) => h("th", { scope: "col" }, text))));
}

function makeRow(row) {
  const name = row.name || "unnamed";
  return h(
    "tr",
    { "data-id": row.id },
    h("td", { class: "state" }, badge(row.state)),
    h("td", { class: "what" }, h("a", { href: `tasks/${encodeURIComponent(row.id)}`, class: row.name ? null : "faint" }, name), h("span", { class: "id" }, row.id, row.owner && row.owner !== "anybody" ? ` · ${row.owner}` : ""), tagsOf(row.tags)),
    h("td", { class: "where" }, row.destination ?? ""),
    h("td", { class: "image" }, h("code", { title: row.image }, middleOut(row.image ?? "", 30))),
    h("td", { class: "when" }, timeAgo(row.created_at)),
    h("td", { class: "took" }),
  );
}

function tagsOf(tags) {
  const pairs = Object.entries(tags ?? {}).filter(([key]) => !key.startsWith("wes.")).slice(0, 4);
  const step = tags?.["wes.run_id"] ? [h("span", { class: "tag" }, "step of a run")] : [];
  return [...step, ...pairs.map(([key, value]) => h("span", { class: "tag" }, value ? `${key}=${middleOut(value, 24)}` : key))];
}

function updateRow(node, row) {
  setBadge(node.querySelector(".badge"), row.state);
  const end = row.ended_at ? millis(row.ended_at) : FINAL.has(row.state) ? NaN : Date.now();
  const took = duration(end - millis(row.created_at)).replace(/\.\d s/, " s");
  if (node.lastChild.textContent !== took) node.lastChild.textContent = took;
  const where = node.querySelector(".where");
  if (row.destination && where.textContent !== row.destination) where.textContent = row.destination;
}

function nothing(query) {
  if ([...query.keys()].length) return empty("No task fits these filters.", "Take some away, or ", h("a", { href: "tasks" }, "see all tasks"), ".");
  return empty("There are no tasks yet.", h("a", { href: "submit" }, "Submit the first one"), ", or send one by any TES client to ", h("code", null, new URL("../ga4gh/tes/v1", document.baseURI).href), ".");
}

/** What the API is asked for, of what stands in the address. */
function queryOf(query) {
  const since = Number(query.get("since"));
  const asTime = (text) => (text ? new Date(text).toISOString() : undefined);
  return {
    state: query.getAll("state"),
    name_prefix: query.get("name_prefix"),
    tag_key: query.get("tag_key"),
    tag_value: query.get("tag_value"),
    destination: query.get("destination"),
    owner: query.get("owner"),
    created_after: since ? new Date(Date.now() - since * 3_600_000).toISOString() : asTime(query.get("created_after")),
    created_before: since ? undefined : asTime(query.get("created_before")),
  };
}

function filterForm(query, apply) {
  const field = (name, label, props = {}) => h("label", props.wrap ?? null, h("span", null, label), h("input", { name, "data-key": name, type: "search", value: query.get(name) ?? "", autocomplete: "off", spellcheck: "false", ...props.input }));
  const isRange = query.has("created_after") || query.has("created_before") || query.get("since") === "range";
  const times = h("select", { name: "since", "data-key": "since" }, Object.entries(TIMES).sort(byHours).map(([value, text]) => h("option", { value, selected: value === (isRange ? "range" : (query.get("since") ?? "")) }, text)));
  const destination = h("select", { name: "destination", "data-key": "destination" }, h("option", { value: "" }, "Any"), query.get("destination") ? h("option", { selected: true }, query.get("destination")) : null);
  const owner = h("span", { class: "contents" });
  const advanced = FILTERS.slice(1).some((name) => query.get(name));
  const node = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Filters" },
    field("name_prefix", "Name begins with", { wrap: { class: "wide" } }),
    h(
      "details",
      { open: advanced || matchMedia("(min-width: 60rem)").matches },
      h("summary", null, "More filters"),
      h(
        "div",
        { class: "more" },
        field("tag_key", "Tag"),
        field("tag_value", "Tag value"),
        h("label", null, h("span", null, "Destination"), destination),
        owner,
        h("label", null, h("span", null, "Created"), times),
        isRange ? ["created_after", "created_before"].map((name) => field(name, name === "created_after" ? "From" : "To", { input: { type: "datetime-local" } })) : null,
        [...query.keys()].length ? h("a", { href: "tasks", class: "clear" }, "Clear all") : null,
      ),
    ),
  );
  const submit = () => apply(Object.fromEntries(FILTERS.map((name) => [name, node.elements[name]?.value.trim() ?? ""])));
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  node.addEventListener("change", (event) => {
    if (event.target === times && times.value !== "range") ["created_after", "created_before"].forEach((name) => node.elements[name] && (node.elements[name].value = ""));
    submit();
  });
  return { node, fillChoices: (signal) => fillChoices({ query, destination, owner, field, signal }) };
}

/** What was typed into a form after its filters were applied. */
function takeOver(from, to) {
  for (const name of TYPED) if (from.elements[name] && to.elements[name]) to.elements[name].value = from.elements[name].value;
}

function focusAs(before, now) {
  now?.focus({ preventScroll: true });
  if (now && TYPED.includes(now.name)) now.setSelectionRange(before.selectionStart, before.selectionEnd);
}

const byHours = ([a], [b]) => (Number(a) || (a ? Infinity : 0)) - (Number(b) || (b ? Infinity : 0));

async function fillChoices({ query, destination, owner, field, signal }) {
  const known = await get(`${TESP}/destinations`, {}, signal).catch(() => ({ destinations: [] }));
  const chosen = query.get("destination") ?? "";
  for (const { name } of known.destinations) if (name !== chosen) destination.append(h("option", { value: name }, name));
  if (!about.ways.length) return;
  const me = await whoAmI().catch(() => null);
  if (me?.is_admin && !signal.aborted) fill(owner, field("owner", "Owner"));
}
