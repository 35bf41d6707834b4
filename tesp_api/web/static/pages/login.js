// Logging in, by whatever ways the server takes.

import { about, tryLogin } from "../api.js";
import { fill, h } from "../dom.js";
import { leaveFor } from "../oidc.js";
import { problem } from "../parts.js";
import { logOut, usePassword, useToken } from "../session.js";

/** Draw the page; `done()` is called when somebody is logged in. */
export function showLogin(main, { done }) {
  const trouble = h("div");
  const enter = async (use) => {
    trouble.replaceChildren();
    use();
    try {
      await tryLogin();
    } catch (error) {
      logOut();
      fill(trouble, problem(error));
      return;
    }
    done();
  };
  const ways = [
    ...about.issuers.map((issuer) => issuerButton(issuer, trouble)),
    about.ways.includes("basic") ? passwordForm(enter, !about.issuers.length) : null,
    about.ways.includes("token") || (about.ways.includes("oidc") && !about.issuers.length) ? tokenForm(enter) : null,
  ].filter(Boolean);
  fill(
    main,
    h("div", { class: "login" }, h("h1", { tabindex: -1 }, "Log in"), h("p", { class: "faint" }, "This server shows tasks to their owners, and to the groups of these. The login is kept in this tab until it is closed."), trouble, ways.flatMap((way, at) => (at ? [h("p", { class: "or" }, "or"), way] : [way]))),
  );
}

function issuerButton(issuer, trouble) {
  const leave = async () => {
    try {
      await leaveFor(issuer, location.href);
    } catch (error) {
      fill(trouble, problem(error));
    }
  };
  return h("button", { type: "button", class: "main wide", onclick: leave }, `Log in with ${issuer.name}`);
}

function passwordForm(enter, isFirst) {
  const user = h("input", { name: "username", autocomplete: "username", required: true, autocapitalize: "off", spellcheck: "false" });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  return loginForm([["User", user], ["Password", password]], "Log in", () => enter(() => usePassword(user.value, password.value)), { isFirst });
}

function tokenForm(enter) {
  const token = h("input", { name: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false", placeholder: "tesp_…" });
  return loginForm([["Token", token]], "Log in with a token", () => enter(() => useToken(token.value.trim())), { about: "An API token of this server, as tesp token create prints it, or one of an issuer." });
}

function loginForm(fields, text, onSubmit, { isFirst = false, about: hint = "" }) {
  const form = h("form", null, fields.map(([label, input]) => h("label", null, h("span", null, label), input)), hint ? h("p", { class: "hint" }, hint) : null, h("button", { type: "submit", class: isFirst ? "main wide" : "wide" }, text));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onSubmit();
  });
  return form;
}
