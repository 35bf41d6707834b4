"""Refuses requests whose address or headers are longer than any that clients have use for."""

from starlette.types import ASGIApp, Receive, Scope, Send

from tesp_api.api.errors import refusal

ADDRESS_MAX_BYTES = 32 * 1024
HEADERS_MAX_BYTES = 64 * 1024


class HeadLimit:
    """ASGI middleware: 414 for the address (path and query), 431 for the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            if len(scope["path"]) + len(scope["query_string"]) > ADDRESS_MAX_BYTES:
                app = refusal(414, f"the address is longer than {ADDRESS_MAX_BYTES} bytes")
            elif sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_MAX_BYTES:
                app = refusal(431, f"the headers are longer than {HEADERS_MAX_BYTES} bytes")
        await app(scope, receive, send)
