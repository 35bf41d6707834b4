"""How the documentation says that one has to log in, and how its page does so."""

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tesp_api.api.auth.authenticator import Scheme, SignIn

Json = dict[str, Any]

REDIRECT_PATH = "/docs/oauth2-redirect"

_OPEN = "Nobody has to log in."
_PUBLIC = ("/service-info", "/healthz", "/readyz")
_REFUSALS = {
    "401": "The credentials are missing or wrong; the header WWW-Authenticate says what is taken.",
    "403": "The credentials are right, but not good for this.",
}

REDIRECT_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>TESP: logged in</title></head>
<body>
<script>
const asked = window.opener && window.opener.swaggerUIRedirectOauth2;
const answer = new URLSearchParams(window.location.search);
if (asked) {
  const isOurs = answer.get("state") === asked.state;
  if (isOurs && answer.get("code")) {
    delete asked.state;
    asked.auth.code = answer.get("code");
    asked.callback({auth: asked.auth, redirectUrl: asked.redirectUrl});
  } else {
    const said = answer.get("error_description") || answer.get("error") || "no code came back";
    asked.errCb({
      authId: asked.auth.name, source: "auth", level: "error",
      message: isOurs ? said : "the answer does not belong to this login",
    });
  }
  window.close();
}
</script>
</body>
</html>
"""
"""Where an issuer sends the browser back to: hands the code to the page that asked for it."""


def with_login(document: Json, schemes: Iterable[Scheme], sign_ins: Sequence[SignIn]) -> Json:
    """The OpenAPI document of a server on which one has to log in."""
    told = copy.deepcopy(document)
    ways: Json = {scheme: {"type": "http", "scheme": scheme} for scheme in schemes}
    ways |= {one.name: _by_issuer(one) for one in sign_ins}
    told["components"]["securitySchemes"] = ways
    told["security"] = [{name: []} for name in ways]
    told["info"]["description"] = told["info"]["description"].replace(
        _OPEN, "One has to log in; tasks are shown to their owners, and to the groups of these."
    )
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, methods in told["paths"].items():
        for operation in methods.values():
            if path.endswith(_PUBLIC):
                operation["security"] = []
                continue
            refusals = {status: {"description": said, "content": error} for status, said in _REFUSALS.items()}
            operation["responses"] = refusals | operation["responses"]
    return told


def page_login(sign_ins: Sequence[SignIn]) -> str:
    """What the page runs besides, so that its button Authorize asks the first issuer, with PKCE."""
    if not sign_ins:
        return ""
    options = {
        "clientId": sign_ins[0].client_id,
        "scopes": "openid",
        "usePkceWithAuthorizationCodeGrant": True,
    }
    return f"page.initOAuth({json.dumps(options).replace('<', chr(92) + 'u003c')});\n"


def _by_issuer(one: SignIn) -> Json:
    """The flow with its addresses, or, while the issuer is away, where they can be looked up."""
    if one.authorization_url is None or one.token_url is None:
        return {"type": "openIdConnect", "openIdConnectUrl": one.discovery_url}
    flow = {
        "authorizationUrl": one.authorization_url,
        "tokenUrl": one.token_url,
        "scopes": {"openid": "who you are"},
    }
    return {"type": "oauth2", "flows": {"authorizationCode": flow}}
