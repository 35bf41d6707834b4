"""The end of a server: it takes no new tasks any more, and answers all else as long as it lives."""

import time

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tesp_api.api.errors import RETRY_AFTER_S, refusal

_CREATING = ("/tasks", "/tasks:bulk", "/wes/v1/runs")


class Drain:
    """Whether the server has been told to stop; off at first, and then on for good."""

    def __init__(self) -> None:
        self._began_at: float | None = None

    def begin(self) -> None:
        """From now on."""
        if self._began_at is None:
            self._began_at = time.monotonic()

    @property
    def is_on(self) -> bool:
        """Whether the server has been told to stop."""
        return self._began_at is not None

    @property
    def lasted_s(self) -> float:
        """How long ago that was; 0 if it was not."""
        return 0.0 if self._began_at is None else time.monotonic() - self._began_at


class Draining:
    """Middleware: once the drain is on, 503 for new tasks, and for the question whether the server is ready.

    A request that has begun is not touched: its task is stored and its id told.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._drain.is_on and _comes_too_late(Request(scope)):
            said = f"the server is being stopped and takes no new tasks; try again in {RETRY_AFTER_S} seconds"
            headers = {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"}
            await refusal(503, said, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _comes_too_late(request: Request) -> bool:
    path = request.url.path
    return (request.method == "POST" and path.endswith(_CREATING)) or path.endswith("/readyz")
