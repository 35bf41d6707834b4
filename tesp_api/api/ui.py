"""The dashboard at `/ui`: one page for all its addresses, and the files that the page needs.

Nothing here is secret: what the page shows it asks the API for, with the user's own credentials.
"""

import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tesp_api.api.auth.authenticator import Authenticator, SignIn
from tesp_api.settings import Settings
from tesp_api.web.assets import load_assets

UI = "/ui"

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?=/|$)")
_FOREVER = "public, max-age=31536000, immutable"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # an address may have the code of a login
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# No markup is ever made of text: the browser refuses to parse any (Trusted Types), whatever a module does.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


class UiEndpoints:
    """`/` leads people to `/ui`, which serves the dashboard."""

    def __init__(
        self, settings: Settings, authenticators: Sequence[Authenticator], *, with_runs: bool
    ) -> None:
        self._root_path = settings.server.root_path
        self._with_runs = with_runs
        self._ways = [] if settings.auth.is_open else list(settings.auth.modes)
        self._authenticators = authenticators
        self._assets = load_assets()

    def routes(self) -> list[BaseRoute]:
        """The endpoints as routes."""
        return [
            Route("/", self.redirect, methods=["GET"]),
            Route(UI, self.redirect, methods=["GET"]),
            Route(f"{UI}/assets/{{version}}/{{name:path}}", self.show_asset, methods=["GET"]),
            Route(f"{UI}/{{address:path}}", self.show_page, methods=["GET"]),
        ]

    async def redirect(self, request: Request) -> Response:
        """Lead to the dashboard."""
        return RedirectResponse(f"{self._root_path}{UI}/" if self._root_path else "ui/")

    async def show_page(self, request: Request) -> Response:
        """The page, which finds out by its address what to show."""
        sign_ins = [sign_in for one in self._authenticators for sign_in in await one.sign_ins()]
        connect = " ".join(("'self'", *_origins(one.token_url for one in sign_ins)))
        headers = {"Content-Security-Policy": _POLICY.format(connect=connect), "Cache-Control": "no-cache"}
        return _answer(request, self._page(sign_ins).encode(), "text/html; charset=utf-8", headers)

    async def show_asset(self, request: Request) -> Response:
        """A file of the dashboard; its address changes with its content, so it may be kept for good."""
        asset = self._assets.files.get(request.path_params["name"])
        if asset is None or request.path_params["version"] != self._assets.version:
            raise HTTPException(
                404, "the dashboard has no such file; if the server was updated, reload the page"
            )
        packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return _answer(request, asset.packed if packed else asset.data, asset.media_type, headers)

    def _page(self, sign_ins: Sequence[SignIn]) -> str:
        about = {
            "version": version("tesp-api"),
            "ways": self._ways,
            "withRuns": self._with_runs,
            "issuers": [
                {
                    "name": one.name,
                    "clientId": one.client_id,
                    "authorizationUrl": one.authorization_url,
                    "tokenUrl": one.token_url,
                }
                for one in sign_ins
            ],
        }
        base = html.escape(f"{self._root_path}{UI}/")
        page = self._assets.page.replace("%BASE%", base).replace("%ASSETS%", f"assets/{self._assets.version}")
        return page.replace("%ABOUT%", json.dumps(about).replace("<", "\\u003c"))


def _origins(urls: Iterable[str | None]) -> list[str]:
    """Where tokens are fetched from: the page may ask these servers, beside its own."""
    return sorted({found[0] for url in urls if url and (found := _ORIGIN.match(url))})


def _answer(request: Request, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """The body, or 304 where the browser has it already."""
    policy = headers.get("Content-Security-Policy", "")
    etag = f'"{hashlib.sha256(policy.encode() + body).hexdigest()[:32]}"'
    headers = {**_HEADERS, **headers, "ETag": etag}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if etag in known:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)
