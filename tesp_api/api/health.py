"""Is the server alive, and can it do its work?"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.errors import TespError

Check = Callable[[], Awaitable[None]]

_STORE = "store"

_CHECK_TIMEOUT_S = 5.0
_PATIENCE_S = 0.5
"""Once the server is known to be ready, a part that hangs does not hold up the answer for longer."""
_UNTOLD = "it does not work; the server's log says why"
_log = logging.getLogger(__name__)


class HealthEndpoints:
    """`/healthz` answers as long as the process lives, `/readyz` while the store and a destination do.

    One destination of several that is away does not make the server useless: tasks go to the others, or wait.
    """

    def __init__(self, store: Check, destinations: Mapping[str, Check], *, tells_why: bool = True) -> None:
        """Where users log in, these endpoints are for everybody: `tells_why` leaves reasons to the log."""
        self._checks = {_STORE: store, **destinations}
        self._has_destinations = bool(destinations)
        self._tells_why = tells_why

    def routes(self) -> list[Route]:
        """The endpoints as routes."""
        return [
            Route("/healthz", self.tell_alive, methods=["GET"]),
            Route("/readyz", self.tell_ready, methods=["GET"]),
        ]

    async def tell_alive(self, _: Request) -> Response:
        """Always 200."""
        return json_answer({"status": "alive"})

    async def tell_ready(self, _: Request) -> Response:
        """200 if the store and a destination answer, else 503; says of each part whether it does."""
        asked = {name: asyncio.create_task(_failure(name, check)) for name, check in self._checks.items()}
        try:
            waiting = (await asyncio.wait(asked.values(), timeout=_PATIENCE_S))[1]
            while waiting and not self._are_enough(asked):
                waiting = (await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED))[1]
            parts = {name: self._part(name, answer) for name, answer in asked.items()}
            ready = self._are_enough(asked)
        finally:
            for answer in asked.values():
                answer.cancel()
        return json_answer(
            {"status": "ready" if ready else "not ready", "parts": parts}, 200 if ready else 503
        )

    def _are_enough(self, asked: Mapping[str, "asyncio.Task[str | None]"]) -> bool:
        """Whether the parts that have answered by now are all that a server needs."""
        well = {name for name, answer in asked.items() if answer.done() and answer.result() is None}
        return _STORE in well and (len(well) > 1 or not self._has_destinations)

    def _part(self, name: str, answer: "asyncio.Task[str | None]") -> dict[str, object]:
        failure = answer.result() if answer.done() else f"no answer within {_PATIENCE_S:g} seconds"
        if failure is None:
            return {"ok": True}
        if self._tells_why:
            return {"ok": False, "error": failure}
        _log.warning("%s is not ready: %s", name, failure)
        return {"ok": False, "error": _UNTOLD}


async def _failure(name: str, check: Check) -> str | None:
    """Why the part does not work; None if it does."""
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_S:g} seconds"
    except TespError as error:
        return str(error) or type(error).__name__
    except Exception:
        _log.exception("the check of %s failed in an unexpected way", name)
        return "the check failed; the server's log says why"
    return None
