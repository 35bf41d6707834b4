"""Many tasks in one request, each of them stored or refused on its own."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import Action, Identity, sender
from tesp_api.api.auth.permissions import require
from tesp_api.api.creation import Creation, Queued
from tesp_api.api.errors import error_body
from tesp_api.api.idempotency import read_key
from tesp_api.api.limits.request_rate import charge
from tesp_api.api.request_id import note_tasks, request_id_of
from tesp_api.errors import Fault, InvalidRequest, KeyReused, LimitReached, StoreUnavailable
from tesp_api.tes.json_body import read_json
from tesp_api.tes.validation import NewTask, validate_task

MOST_TASKS = 1000

_AT_ONCE = 64
_BETWEEN_PAUSES = 50
"""So many tasks are read before other requests get their turn."""

_log = logging.getLogger(__name__)


class BulkEndpoint:
    """`POST /tesp/v1/tasks:bulk`."""

    def __init__(self, creation: Creation) -> None:
        self._creation = creation

    def routes(self, prefix: str) -> list[Route]:
        """The endpoint as a route."""
        return [Route(f"{prefix}/tasks:bulk", self.create_tasks, methods=["POST"])]

    async def create_tasks(self, request: Request) -> Response:
        """Store the tasks of the body; answers for each its id, or why there is none, in their order.

        With an Idempotency-Key each task has its own, made of that one and its place in the body.

        Raises:
            StoreUnavailable, LimitReached: not one task could be stored, because of this.
        """
        who = sender(request)
        require(who, Action.SUBMIT)
        key = read_key(request.headers)
        documents = _documents_in(await request.body())
        tasks = await _read_tasks(
            documents, lambda new: self._creation.queued_task(new, who, request_id_of(request))
        )
        room = asyncio.Semaphore(_AT_ONCE)
        outcomes = await asyncio.gather(
            *(self._store_one(task, _own_key(key, index), who, room) for index, task in enumerate(tasks))
        )
        charge(request, len(tasks) - 1)
        later = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable | LimitReached)]
        if later and not any(isinstance(outcome, str) for outcome in outcomes):
            raise later[0]
        note_tasks(request, [outcome for outcome in outcomes if isinstance(outcome, str)])
        return json_answer({"tasks": [_answer(index, outcome) for index, outcome in enumerate(outcomes)]})

    async def _store_one(
        self, task: Queued | InvalidRequest, key: str | None, who: Identity, room: asyncio.Semaphore
    ) -> str | Exception:
        """The id of the stored task, or why there is none."""
        if isinstance(task, InvalidRequest):
            return task
        async with room:
            try:
                return await self._creation.store(task, key, who)
            except KeyReused:
                return KeyReused(_sent_key(key))
            except Exception as error:
                return error


def _documents_in(body: bytes) -> list[Any]:
    data = read_json(body)
    documents = data.get("tasks") if isinstance(data, dict) else None
    if not isinstance(documents, list) or not documents:
        raise InvalidRequest([Fault("tasks", "is required: a list of tasks")])
    if len(documents) > MOST_TASKS:
        raise InvalidRequest([Fault("tasks", f"has {len(documents)} tasks: at most {MOST_TASKS}")])
    return documents


async def _read_tasks(
    documents: list[Any], queued_task: Callable[[NewTask], Queued]
) -> list[Queued | InvalidRequest]:
    """Each document as a task or as what is wrong with it. Ids grow, so lists show the same order."""
    tasks: list[Queued | InvalidRequest] = []
    for index, document in enumerate(documents):
        try:
            tasks.append(queued_task(validate_task(document)))
        except InvalidRequest as error:
            tasks.append(error)
        if index % _BETWEEN_PAUSES == 0:
            await asyncio.sleep(0)
    return tasks


def _own_key(key: str | None, index: int) -> str | None:
    """The key of one task: no client's key has a space."""
    return None if key is None else f"{key} {index}"


def _sent_key(own_key: str | None) -> str:
    """The client's key, of which that of one task was made."""
    return (own_key or "").partition(" ")[0]


def _answer(index: int, outcome: str | Exception) -> dict[str, Any]:
    if isinstance(outcome, str):
        return {"index": index, "id": outcome}
    body = error_body(outcome)
    if body["status_code"] >= 500:
        _log.error("task %d of a bulk was not stored: %r", index, outcome)
    return {"index": index, "error": body}
