// Who is logged in. Credentials are kept in this tab alone (sessionStorage) and leave it in one header.

import { renewed } from "./oidc.js";

export const about = JSON.parse(document.getElementById("about").textContent);

const KEY = "tesp.session";
const RENEW_BEFORE_MS = 20_000;

let session = load();
let renewing = null;

function load() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}

function keep(value) {
  session = value;
  try {
    if (value) sessionStorage.setItem(KEY, JSON.stringify(value));
    else sessionStorage.removeItem(KEY);
  } catch {
    // without a storage it lasts until the page is loaded again
  }
}

/** Whether users of this server log in at all. */
export const hasLogins = about.ways.length > 0;

/** Whether somebody has to log in now. */
export const mustLogIn = () => hasLogins && !session;

/** Log in by an API token, or another bearer token. */
export function useToken(token) {
  keep({ header: `Bearer ${token}` });
}

/** Log in by user and password. */
export function usePassword(user, password) {
  const text = new TextEncoder().encode(`${user}:${password}`);
  keep({ header: `Basic ${btoa(String.fromCharCode(...text))}` });
}

/** Log in by what an issuer has answered. */
export function useTokens(issuer, tokens) {
  keep({
    header: `Bearer ${tokens.access_token}`,
    issuer,
    refreshToken: tokens.refresh_token,
    endsAt: tokens.expires_in ? Date.now() + tokens.expires_in * 1000 : null,
  });
}

/** Forget who it was. */
export function logOut() {
  keep(null);
}

/** What to send as `Authorization`, renewed if it is about to end; null if nobody is logged in. */
export async function authorization() {
  if (session?.refreshToken && session.endsAt - Date.now() < RENEW_BEFORE_MS) {
    renewing ??= renew().finally(() => (renewing = null));
    await renewing;
  }
  return session?.header ?? null;
}

async function renew() {
  const issuer = about.issuers.find((one) => one.name === session.issuer);
  const tokens = issuer && (await renewed(issuer, session.refreshToken));
  if (tokens) useTokens(issuer.name, { refresh_token: session.refreshToken, ...tokens });
  else keep({ ...session, refreshToken: null }); // the old one is good until the server refuses it
}
