// Logging in at an OpenID Connect issuer: authorization code with PKCE. Source: RFC 7636, RFC 9700.

const KEY = "tesp.oidc";

const home = () => new URL(document.baseURI).href;

function base64url(data) {
  return btoa(String.fromCharCode(...new Uint8Array(data)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

/** Go to the issuer's page; it sends the browser back to the dashboard, which calls `arrived`. */
export async function leaveFor(issuer, then) {
  if (!globalThis.crypto?.subtle) {
    throw new Error("Logging in by an issuer needs https:// (or localhost): ask for the server by such an address.");
  }
  const url = issuer.authorizationUrl && new URL(issuer.authorizationUrl);
  if (!url || !["https:", "http:"].includes(url.protocol)) {
    throw new Error(`The issuer ${issuer.name} does not answer the server now. Try again in a moment.`);
  }
  const asked = { issuer: issuer.name, state: random(), verifier: random(), then };
  sessionStorage.setItem(KEY, JSON.stringify(asked));
  const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(asked.verifier)));
  const query = {
    response_type: "code",
    client_id: issuer.clientId,
    redirect_uri: home(),
    scope: "openid",
    state: asked.state,
    code_challenge: challenge,
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  location.assign(url);
}

/** Whether this address is one that an issuer has sent the browser back to. */
export function isBack() {
  const query = new URLSearchParams(location.search);
  return query.has("state") && (query.has("code") || query.has("error"));
}

/** Change the code in the address for tokens; the code is taken out of the address first. */
export async function arrived(issuers) {
  const answer = new URLSearchParams(location.search);
  const asked = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  history.replaceState(null, "", home());
  if (!asked || answer.get("state") !== asked.state) {
    throw new Error("The answer of the issuer does not belong to a login of this tab. Please log in again.");
  }
  if (answer.has("error")) throw new Error(answer.get("error_description") || answer.get("error"));
  const issuer = issuers.find((one) => one.name === asked.issuer);
  if (!issuer) throw new Error(`This server no longer takes logins of ${asked.issuer}.`);
  const tokens = await ask(issuer, {
    grant_type: "authorization_code",
    code: answer.get("code"),
    redirect_uri: home(),
    code_verifier: asked.verifier,
  });
  return { issuer, tokens, then: asked.then };
}

/** New tokens for a refresh token; null if the issuer gives none. */
export async function renewed(issuer, refreshToken) {
  try {
    return await ask(issuer, { grant_type: "refresh_token", refresh_token: refreshToken });
  } catch {
    return null;
  }
}

async function ask(issuer, fields) {
  const answer = await fetch(issuer.tokenUrl, {
    method: "POST",
    credentials: "omit",
    body: new URLSearchParams({ client_id: issuer.clientId, ...fields }),
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok || !body.access_token) {
    throw new Error(body.error_description || `The issuer ${issuer.name} gave no token (${answer.status}).`);
  }
  return body;
}
