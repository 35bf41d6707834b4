// Where tasks run: how each place is, how full, and what waits for it.

import { get, TESP } from "../api.js";
import { every, fill, h, icon, keyed } from "../dom.js";
import { count } from "../format.js";
import { empty, facts, problem } from "../parts.js";

const HEALTH = {
  well: { label: "Answers", tone: "good", shape: "M2.8 8.6 6.4 12.2 13.2 4.4" },
  trying: { label: "Being tried again", tone: "stage", shape: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3" },
  failing: { label: "Does not answer", tone: "bad", shape: "M4 4l8 8M12 4l-8 8" },
};
const KINDS = { embedded: "Pulsar within this server", rest: "Pulsar over HTTP", amqp: "Pulsar behind a message broker" };

export async function render(main, { signal }) {
  const cards = h("div", { class: "cards" });
  const after = h("div");
  fill(main, h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Destinations")), after, cards);
  const refresh = async () => {
    const { destinations } = await get(`${TESP}/destinations`, {}, signal);
    keyed(cards, destinations, (one) => one.name, () => h("article", { class: "card" }), drawCard);
    fill(after, destinations.length ? null : empty("There are no destinations.", "Name one in the settings: ", h("code", null, "[default.destinations.NAME]"), "."));
  };
  await refresh();
  every(2000, signal, () => refresh().catch((error) => signal.aborted || fill(after, problem(error))));
}

function drawCard(card, site) {
  const text = JSON.stringify(site);
  if (card.dataset.drawn === text) return;
  card.dataset.drawn = text;
  const health = HEALTH[site.health.state] ?? { ...HEALTH.trying, label: site.health.state };
  fill(
    card,
    h("div", { class: "card-head" }, h("h2", null, site.name), h("span", { class: `badge tone-${health.tone}` }, icon(health.shape), health.label)),
    h("p", { class: "faint" }, KINDS[site.kind] ?? site.kind),
    site.health.reason ? h("p", { class: "cause" }, site.health.reason) : null,
    load("Running tasks", site.running, site.max_running),
    load("Cores", site.cores_used, site.cores),
    load("Memory", site.ram_gb_used, site.ram_gb, "GB"),
    facts([
      ["Waiting", h("span", null, count(site.waiting ?? 0), site.waiting ? [" · ", h("a", { href: "tasks?state=QUEUED" }, "see them")] : "")],
      ["Address", site.url],
      ["Tasks", h("a", { href: `tasks?destination=${encodeURIComponent(site.name)}` }, "all that went here")],
    ]),
  );
}

function meter(used, most, label) {
  const bar = h("i");
  bar.style.width = `${Math.min(100, (100 * used) / most)}%`;
  return h("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": most, "aria-valuenow": Math.min(used, most), "aria-label": label }, bar);
}

/** How much of something is in use; a bar where there is a limit. */
function load(name, used, most, unit = "") {
  const number = (value) => `${count(Math.round((value ?? 0) * 10) / 10)}${unit && ` ${unit}`}`;
  const text = most === undefined || most === null ? `${number(used)}, no limit` : `${number(used)} of ${number(most)}`;
  return h("div", { class: "load" }, h("span", null, name), h("span", null, text), most ? meter(used ?? 0, most, `${name}: ${text}`) : null);
}
