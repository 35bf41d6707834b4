"""Counts and times requests, by the template of their route."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tesp_api.metrics.requests import UNKNOWN, RequestMetrics

_GONE = 499
"""As nginx says of a client that left before it had an answer."""


class RequestMeter:
    """ASGI middleware. What stands before it, and answers itself, is not counted."""

    def __init__(self, app: ASGIApp, requests: RequestMetrics) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = time.perf_counter()
        status, took_s = _GONE, 0.0

        async def send_noted(message: Message) -> None:
            nonlocal status, took_s
            if message["type"] == "http.response.start":
                status, took_s = message["status"], time.perf_counter() - began_at
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception:
            status = 500 if status == _GONE else status
            raise
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN)
            took_s = took_s or time.perf_counter() - began_at
            self._requests.answered(scope["method"], route, status, took_s)
