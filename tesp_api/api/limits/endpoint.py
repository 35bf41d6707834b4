"""`GET /tesp/v1/limits`: what a user may take, and has taken."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import Action, sender
from tesp_api.api.auth.permissions import require
from tesp_api.api.limits.allowances import MEASURES, Allowances, Named
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tesp_api.store.usage import Usage

_RATES = ("requests_per_s", "requests_burst", "lists_at_once", "streams_at_once")


class LimitsEndpoint:
    """Tells users their own limits and use; what all have taken together is for admins."""

    def __init__(self, store: TaskStore, settings: Settings) -> None:
        self._store = store
        self._allowances = Allowances(settings.limits)
        self._max_body_bytes = settings.server.max_body_bytes

    def routes(self, prefix: str) -> list[Route]:
        """The endpoint as a route."""
        return [Route(f"{prefix}/limits", self.read_limits, methods=["GET"])]

    async def read_limits(self, request: Request) -> Response:
        """Both parts have the same keys; a limit that there is not is absent."""
        who = sender(request)
        require(who, Action.READ)
        own, overall = await asyncio.gather(self._store.usage(who.owner), self._all(who.is_admin))
        user = {"name": who.owner, **_shown(self._allowances.of_user(who), own)}
        everybody = _shown(self._allowances.all, overall)
        return json_answer({"user": user, "all": everybody, "max_body_bytes": self._max_body_bytes})

    async def _all(self, is_admin: bool) -> Usage | None:
        return await self._store.usage(None) if is_admin else None


def _shown(named: Named | None, used: Usage | None) -> dict[str, Any]:
    table = named.table.model_dump(exclude_none=True) if named else {}
    if "requests_per_s" not in table:
        table.pop("requests_burst", None)
    limits = {key: table[key] for key in (*_RATES, *MEASURES) if key in table}
    return {"limits": limits} | ({"used": {key: getattr(used, key) for key in MEASURES}} if used else {})
