// Requests to the server. Credentials go in a header, never in an address.

import { about, authorization, hasLogins, logOut } from "./session.js";

export const TES = "ga4gh/tes/v1";
export const WES = "ga4gh/wes/v1";
export const TESP = "tesp/v1";

const ROOT = new URL("..", document.baseURI);

/** What the server has refused, or that it does not answer (status 0). */
export class ApiError extends Error {
  constructor(status, message, faults = []) {
    super(message);
    this.status = status;
    this.faults = faults;
  }
}

/** The whole address of a path of the API; values that are empty are left out, lists are repeated. */
export function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) {
      if (one !== undefined && one !== null && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

/** Send a request; the answer is one of success. */
export async function send(path, { query, method = "GET", headers = {}, body, signal, isLogin = false } = {}) {
  const known = await authorization();
  const all = known ? { ...headers, Authorization: known } : headers;
  // Where users log in, a browser that may add what it knows would ask them by a window of its own.
  const credentials = hasLogins ? "omit" : "same-origin";
  let answer;
  try {
    answer = await fetch(address(path, query), { method, headers: all, body, signal, credentials, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (answer.ok) return answer;
  throw await refusal(answer, isLogin);
}

async function refusal(answer, isLogin) {
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401 && hasLogins && !isLogin) {
    logOut();
    dispatchEvent(new CustomEvent("tesp:login", { detail: body.msg }));
  }
  return new ApiError(answer.status, body.msg ?? `The server answered ${answer.status}.`, body.faults);
}

/** The JSON at a path. */
export async function get(path, query, signal) {
  return (await send(path, { query, signal })).json();
}

/** Post JSON; returns JSON. */
export async function post(path, document, signal) {
  const body = document === undefined ? undefined : JSON.stringify(document);
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  return (await send(path, { method: "POST", headers, body, signal })).json();
}

/** Save what is at a path as a file. A plain link would lack the credentials. */
export async function download(path, query, name) {
  const data = await (await send(path, { query })).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

let me = null;

/** Who is logged in, as the server says. */
export async function whoAmI() {
  me ??= get(`${TESP}/me`).catch((error) => {
    me = null;
    throw error;
  });
  return me;
}

/** Ask again next time. */
export function forgetMe() {
  me = null;
}

/** Whether the server takes the credentials that were just given; raises what it says if not. */
export async function tryLogin() {
  await send(`${TESP}/me`, { isLogin: true });
}

export { about };
