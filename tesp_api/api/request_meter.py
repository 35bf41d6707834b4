"""Counts and times requests, by the template of their route."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tesp_api.metrics.requests import UNKNOWN, RequestMetrics

_GONE = 499
"""As nginx says of a client that left before it had an answer."""


def templates_of(routes: Iterable[BaseRoute]) -> Mapping[Callable[..., Any], str]:
    """The template of each endpoint's route; of one that has several routes, the first."""
    found: dict[Callable[..., Any], str] = {}
    for route in routes:
        if isinstance(route, Route):
            found.setdefault(route.endpoint, route.path)
    return found


class RequestMeter:
    """ASGI middleware. What stands before it, and answers itself, is not counted."""

    def __init__(
        self, app: ASGIApp, requests: RequestMetrics, templates: Mapping[Callable[..., Any], str]
    ) -> None:
        self._app = app
        self._requests = requests
        self._templates = templates

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
            endpoint = scope.get("endpoint")
            route = UNKNOWN if endpoint is None else self._templates.get(endpoint, UNKNOWN)
            took_s = took_s or time.perf_counter() - began_at
            self._requests.answered(scope["method"], route, status, took_s)
