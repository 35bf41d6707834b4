"""What became of webhooks: of a task's own for its owner, of those in the settings for admins."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import Action, Identity, sender
from tesp_api.api.auth.visible_tasks import VisibleTasks
from tesp_api.errors import NotAllowed
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tesp_api.store.outbox import Delivery
from tesp_api.tes.times import rfc3339
from tesp_api.tes.webhook_parameters import place_of
from tesp_api.webhooks.deliveries import Deliveries
from tesp_api.webhooks.targets import Unknown
from tesp_api.webhooks.watches import is_own, shown_receiver


class WebhookEndpoints:
    """Shows deliveries and receivers, and tries one."""

    def __init__(self, store: TaskStore, webhooks: Deliveries, settings: Settings) -> None:
        self._tasks = VisibleTasks(store)
        self._webhooks = webhooks
        self._settings = settings

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints as routes."""
        return [
            Route(f"{prefix}/tasks/{{id}}/webhooks", self.read_deliveries, methods=["GET"]),
            Route(f"{prefix}/webhooks", self.list_receivers, methods=["GET"]),
            Route(f"{prefix}/webhooks/{{name}}/test", self.send_test, methods=["POST"]),
        ]

    async def read_deliveries(self, request: Request) -> Response:
        """What became of a task's notices: its owner sees those of its own webhook, an admin all.

        Raises:
            NotAllowed: the task is another's, who shares it.
        """
        who = sender(request)
        task = await self._tasks.get(who, request.path_params["id"])
        if not who.is_admin and task.owner != who.owner:
            raise NotAllowed("only its owner sees the webhooks of a task")
        found = await self._webhooks.of(task.id)
        shown = [_shown(one) for one in found if who.is_admin or is_own(one.receiver)]
        return json_answer({"id": task.id, "webhooks": shown})

    async def list_receivers(self, request: Request) -> Response:
        """The receivers of the settings, how many notices wait for each, and how it goes with it here."""
        _require_admin(sender(request))
        waiting = await self._webhooks.waiting()
        receivers = []
        for name, one in self._settings.webhooks.receivers.items():
            line = self._webhooks.lines.get(name)
            about: dict[str, Any] = {
                "name": name,
                "place": place_of(one.url.get_secret_value()),
                "states": list(one.states),
                "of": list(one.of),
                "tags": list(one.tags),
                "waiting": waiting.get(name, 0),
                "failures": line.failures if line else 0,
            }
            receivers.append(about | ({"said": line.said} if line and line.said else {}))
        of_tasks = sum(count for name, count in waiting.items() if is_own(name))
        return json_answer({"receivers": receivers, "waiting_of_tasks": of_tasks})

    async def send_test(self, request: Request) -> Response:
        """Send a test message to a receiver, once, and tell how that went."""
        _require_admin(sender(request))
        name = request.path_params["name"]
        try:
            answer = await self._webhooks.send_test(name)
        except Unknown:
            raise HTTPException(404, f"the settings have no webhooks.receivers.{name[:64]}") from None
        return json_answer({"name": name, "delivered": answer.is_taken, "said": answer.said})


def _require_admin(who: Identity) -> None:
    if not who.is_admin or Action.READ not in who.scopes:
        raise NotAllowed("only admins may do this (auth.admins)")


def _shown(one: Delivery) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event_id": one.event_id,
        "to": shown_receiver(one.receiver),
        "state": str(one.state),
        "attempt": one.attempt,
        "time": rfc3339(one.at),
        "fate": one.fate,
        "tries": one.tries,
    }
    shown |= {"said": one.said} if one.said else {}
    return shown | ({"done_at": rfc3339(one.done_at)} if one.done_at else {})
