"""The Swagger UI, from files on this machine: compute sites often have no internet.

All addresses are relative, so that the page also works behind a proxy that adds a path.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.authenticator import Authenticator, SignIn
from tesp_api.api.docs_login import REDIRECT_PAGE, REDIRECT_PATH, page_login, with_login

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TESP</title>
<link rel="icon" href="docs/files/favicon-32x32.png">
<link rel="stylesheet" href="docs/files/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script>
const page = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  oauth2RedirectUrl: new URL("docs/oauth2-redirect", window.location.href).href,
});
LOGIN</script>
</body>
</html>
"""


_HEADERS = {
    # Framed by a page from elsewhere, a user could be led to click "Execute" with what the browser knows.
    "Content-Security-Policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # an address may have the code of a login
}


class DocsEndpoints:
    """`/docs` for people, `/openapi.json` for programs."""

    def __init__(self, document: dict[str, Any], authenticators: Sequence[Authenticator]) -> None:
        self._document = document
        self._schemes = list(dict.fromkeys(one.scheme for one in authenticators))
        self._authenticators = authenticators

    def routes(self) -> list[BaseRoute]:
        """The endpoints as routes."""
        folder = str(files("fastapi_swagger").joinpath("resources"))
        return [
            Route("/docs", self.show_page, methods=["GET"]),
            Route(REDIRECT_PATH, self.return_from_login, methods=["GET"]),
            Route("/openapi.json", self.show_document, methods=["GET"]),
            Mount("/docs/files", StaticFiles(directory=folder)),
        ]

    async def show_page(self, _: Request) -> Response:
        """The Swagger UI."""
        return HTMLResponse(_PAGE.replace("LOGIN", page_login(await self._sign_ins())), headers=_HEADERS)

    async def return_from_login(self, _: Request) -> Response:
        """Where an issuer sends people back to."""
        return HTMLResponse(REDIRECT_PAGE, headers=_HEADERS)

    async def show_document(self, _: Request) -> Response:
        """The OpenAPI document."""
        if not self._schemes:
            return json_answer(self._document)
        return json_answer(with_login(self._document, self._schemes, await self._sign_ins()))

    async def _sign_ins(self) -> list[SignIn]:
        return [sign_in for one in self._authenticators for sign_in in await one.sign_ins()]
