// The frame around all pages: who is there, which page the address means, and going from one to the next.

import { about, forgetMe, whoAmI } from "./api.js";
import { announce, fill, h, icon } from "./dom.js";
import { arrived, isBack } from "./oidc.js";
import { problem } from "./parts.js";
import { hasLogins, logOut, mustLogIn, useTokens } from "./session.js";

const PAGES = [
  { path: /^$|^tasks$/, module: "./pages/tasks.js", nav: "tasks" },
  { path: /^tasks\/([^/]+)$/, module: "./pages/task.js", nav: "tasks" },
  { path: /^runs$/, module: "./pages/runs.js", nav: "runs" },
  { path: /^runs\/([^/]+)$/, module: "./pages/run.js", nav: "runs" },
  { path: /^destinations$/, module: "./pages/destinations.js", nav: "destinations" },
  { path: /^submit$/, module: "./pages/submit.js", nav: "submit" },
];
const NAV = [
  ["tasks", "Tasks"],
  ...(about.withRuns ? [["runs", "Runs"]] : []),
  ["destinations", "Destinations"],
  ["submit", "New task"],
];
const THEMES = {
  "": { label: "Theme: as the system", next: "light", shape: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 2v12M8 5h3.6M8 8h6M8 11h3.6" },
  light: { label: "Theme: light", next: "dark", shape: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1" },
  dark: { label: "Theme: dark", next: "", shape: "M13.5 9.6A6 6 0 1 1 6.4 2.5a4.8 4.8 0 0 0 7.1 7.1Z" },
};

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const tools = document.getElementById("tools");
let leave = new AbortController();

/** The part of the address behind the dashboard's own. */
function place() {
  return decodeURI(location.pathname).slice(new URL(document.baseURI).pathname.length).replace(/\/$/, "");
}

/** Go to an address of the dashboard, such as "tasks/ID". */
export function go(path, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", new URL(path, document.baseURI));
  return show();
}

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const here = place();
  const page = PAGES.find((one) => one.path.test(here));
  showNav(page?.nav);
  document.body.classList.add("going");
  try {
    if (mustLogIn()) {
      const { showLogin } = await import("./pages/login.js");
      if (!signal.aborted) showLogin(main, { done: enter });
    } else if (!page) {
      showNoPage();
    } else {
      const { render } = await import(page.module);
      if (signal.aborted) return;
      await render(main, { id: page.path.exec(here)[1], query: new URLSearchParams(location.search), signal, go });
    }
  } catch (error) {
    if (!signal.aborted) fill(main, h("h1", { tabindex: -1 }, "This did not work"), problem(error, show));
  } finally {
    if (!signal.aborted) document.body.classList.remove("going");
  }
  if (signal.aborted) return;
  const heading = main.querySelector("h1");
  document.title = `${main.dataset.title || heading?.textContent || "TESP"} · TESP`;
}

function showNoPage() {
  fill(
    main,
    h("h1", { tabindex: -1 }, "There is no such page"),
    h("p", { class: "empty" }, "The address may be mistyped. ", h("a", { href: "tasks" }, "See all tasks")),
  );
}

function showNav(current) {
  fill(
    nav,
    NAV.map(([path, text]) => h("a", { href: path, "aria-current": path === current && "page" }, text)),
  );
}

async function showTools() {
  const who = h("span", { class: "who" });
  fill(tools, who, h("a", { href: "../docs", class: "quiet", title: "All endpoints, to be tried" }, "API"), themeButton());
  if (!hasLogins || mustLogIn()) return;
  const me = await whoAmI().catch(() => null);
  if (me) fill(who, h("span", { class: "name", title: me.is_admin ? "admin" : null }, me.name || me.subject));
  who.append(h("button", { class: "quiet", type: "button", onclick: end }, "Log out"));
}

function themeButton() {
  const root = document.documentElement;
  const button = h("button", { class: "quiet square", type: "button" });
  const draw = () => {
    const theme = THEMES[root.dataset.theme] ?? THEMES[""];
    button.setAttribute("aria-label", theme.label);
    button.title = theme.label;
    fill(button, icon(theme.shape));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = (THEMES[root.dataset.theme] ?? THEMES[""]).next;
    try {
      localStorage.setItem("tesp.theme", root.dataset.theme);
    } catch {
      // it lasts until the page is loaded again
    }
    draw();
    announce(button.title);
  });
  draw();
  return button;
}

function enter() {
  forgetMe();
  showTools();
  return show().then(focusHeading);
}

function end() {
  logOut();
  enter();
}

function focusHeading() {
  const heading = main.querySelector("h1") ?? main;
  heading.focus({ preventScroll: true });
}

/** Whether a click means to go on in this tab, to another page of the dashboard. */
function isOurs(event, link) {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return false;
  const target = link.getAttribute("target");
  const url = new URL(link.href.baseVal ?? link.href, document.baseURI);
  const base = new URL(document.baseURI);
  return (!target || target === "_self") && url.origin === base.origin && url.pathname.startsWith(base.pathname) && !link.hasAttribute("download");
}

addEventListener("click", (event) => {
  const link = event.target.closest?.("a");
  if (!link?.hasAttribute("href") || !isOurs(event, link)) return;
  event.preventDefault();
  if (link.classList.contains("skip")) {
    main.focus();
    return;
  }
  const url = new URL(link.href.baseVal ?? link.href, document.baseURI);
  go(url.href).then(() => {
    scrollTo(0, 0);
    focusHeading();
  });
});
addEventListener("popstate", show);
addEventListener("tesp:login", () => {
  forgetMe();
  showTools();
  show();
});

async function start() {
  if (!isBack()) {
    showTools();
    return show();
  }
  try {
    const { issuer, tokens, then } = await arrived(about.issuers);
    useTokens(issuer.name, tokens);
    showTools();
    return await go(then, { replace: true });
  } catch (error) {
    showTools();
    await show();
    main.prepend(problem(error));
  }
}

start();
