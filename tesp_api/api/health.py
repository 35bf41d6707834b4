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

_CHECK_TIMEOUT_S = 5.0
_UNTOLD = "it does not work; the server's log says why"
_log = logging.getLogger(__name__)


class HealthEndpoints:
    """`/healthz` answers as long as the process lives, `/readyz` once all parts work."""

    def __init__(self, checks: Mapping[str, Check], *, tells_why: bool = True) -> None:
        """Where users log in, these endpoints are for everybody: `tells_why` leaves reasons to the log."""
        self._checks = checks
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
        """200 if every part answers, else 503; says of each part whether it does, and why not."""
        failures = await asyncio.gather(*(_failure(name, check) for name, check in self._checks.items()))
        parts = {
            name: {"ok": True} if failure is None else {"ok": False, "error": self._told(name, failure)}
            for name, failure in zip(self._checks, failures, strict=True)
        }
        ready = not any(failures)
        return json_answer(
            {"status": "ready" if ready else "not ready", "parts": parts}, 200 if ready else 503
        )

    def _told(self, name: str, failure: str) -> str:
        if self._tells_why:
            return failure
        _log.warning("%s is not ready: %s", name, failure)
        return _UNTOLD


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
