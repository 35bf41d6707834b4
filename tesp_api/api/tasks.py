"""The endpoints of the TES standard, under one prefix.

Clients of TES 1.0 use `/v1` and know nothing of later states; `/ga4gh/tes/v1` shows all.
"""

import contextlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer, json_bytes_answer
from tesp_api.api.auth.identity import OPEN, Action, Identity, sender
from tesp_api.api.auth.permissions import require
from tesp_api.api.auth.visible_tasks import VisibleTasks
from tesp_api.api.creation import Creation
from tesp_api.api.idempotency import read_key
from tesp_api.api.limits.list_turns import ListTurns, is_costly, requests_in
from tesp_api.api.limits.request_rate import charge
from tesp_api.api.minimal_pages import minimal_page, minimal_task
from tesp_api.api.queries import read_list_query, read_view
from tesp_api.api.request_id import note_tasks, request_id_of
from tesp_api.api.service_info import service_info, service_info_1_0
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskQuery, TaskStore
from tesp_api.store.log_tails import read_tails
from tesp_api.tes.tasks import View
from tesp_api.tes.validation import read_task
from tesp_api.tes.views import Json, task_view


class TaskEndpoints:
    """Creates, shows, lists and cancels tasks. Starlette's own routes: these paths are polled hard."""

    def __init__(
        self,
        store: TaskStore,
        bell: Bell,
        settings: Settings,
        creation: Creation,
        list_turns: ListTurns,
        *,
        tes_1_0: bool,
    ) -> None:
        self._store = store
        self._tasks = VisibleTasks(store)
        self._bell = bell
        self._creation = creation
        self._list_turns = list_turns
        # The store keeps the last half of a long log in one piece, and only that.
        self._tail_bytes = min(settings.logs.tail_bytes, max(1, settings.logs.max_bytes // 2))
        self._tes_1_0 = tes_1_0
        self._service_info = service_info(settings)
        self._service_info_1_0 = service_info_1_0(settings)

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints as routes; the more particular paths come first."""
        routes = [
            Route(f"{prefix}/service-info", self.get_service_info, methods=["GET"]),
            Route(f"{prefix}/tasks", self.list_or_create, methods=["GET", "POST"]),
            Route(f"{prefix}/tasks/{{id}}:cancel", self.cancel_task, methods=["POST"]),
            Route(f"{prefix}/tasks/{{id}}", self.get_task, methods=["GET"]),
        ]
        if self._tes_1_0:
            routes.insert(
                0, Route(f"{prefix}/tasks/service-info", self.get_service_info_1_0, methods=["GET"])
            )
        return routes

    async def list_or_create(self, request: Request) -> Response:
        """GET lists, POST creates: one route, so that the answer to any other method names both."""
        return await (self.create_task(request) if request.method == "POST" else self.list_tasks(request))

    async def create_task(self, request: Request) -> Response:
        """Store the task of the body, whatever content type is given; once for each Idempotency-Key."""
        who = sender(request)
        require(who, Action.SUBMIT)
        key = read_key(request.headers)
        new = read_task(await request.body())
        task_id = await self._creation.store(
            self._creation.queued_task(new, who, request_id_of(request)), key, who
        )
        note_tasks(request, [task_id])
        return json_answer({"id": task_id})

    async def get_task(self, request: Request) -> Response:
        """One task in the view asked for."""
        view = read_view(request.query_params)
        who, task_id = sender(request), request.path_params["id"]
        if view is View.MINIMAL:
            state = await self._tasks.state(who, task_id)
            return json_bytes_answer(minimal_task(task_id, state, tes_1_0=self._tes_1_0))
        task = await self._tasks.get(who, task_id)
        [tails] = await read_tails(self._store, [task], self._tail_bytes) if view is View.FULL else [{}]
        return json_answer(task_view(task, view, tes_1_0=self._tes_1_0, tails=tails))

    async def list_tasks(self, request: Request) -> Response:
        """One page of the tasks that match, newest first."""
        who = sender(request)
        require(who, Action.READ)
        query, view = read_list_query(request.query_params, tes_1_0=self._tes_1_0)
        if query.states == frozenset():
            return json_answer({"tasks": []})
        turn = self._list_turns.turn(who) if is_costly(query, view) else contextlib.nullcontext()
        async with turn:
            return await self._list(request, who, query, view)

    async def _list(self, request: Request, who: Identity, query: TaskQuery, view: View) -> Response:
        if view is View.MINIMAL:
            page = await self._tasks.list_states(who, query)
            charge(request, requests_in(len(page.items), view))
            return json_bytes_answer(minimal_page(page.items, page.next_token, tes_1_0=self._tes_1_0))
        tasks, token = await self._list_documents(who, query, view)
        charge(request, requests_in(len(tasks), view))
        return json_answer({"tasks": tasks} | ({"next_page_token": token} if token else {}))

    async def cancel_task(self, request: Request) -> Response:
        """Ask for the end of the task; nothing happens to one that has ended."""
        who, task_id = sender(request), request.path_params["id"]
        await self._tasks.require(who, Action.CANCEL, task_id)
        await self._store.request_cancel(task_id, _canceled_by(who))
        self._bell.ring(task_id)
        return json_answer({})

    async def get_service_info(self, _: Request) -> Response:
        """What the service is."""
        return json_answer(self._service_info)

    async def get_service_info_1_0(self, _: Request) -> Response:
        """What the service is, where old clients look."""
        return json_answer(self._service_info_1_0)

    async def _list_documents(
        self, who: Identity, query: TaskQuery, view: View
    ) -> tuple[list[Json], str | None]:
        page = await self._tasks.list_tasks(who, query)
        if view is View.FULL:
            tails = await read_tails(self._store, page.items, self._tail_bytes)
        else:
            tails = [{} for _ in page.items]
        shown = [
            task_view(task, view, tes_1_0=self._tes_1_0, tails=of_task)
            for task, of_task in zip(page.items, tails, strict=True)
        ]
        return shown, page.next_token


def _canceled_by(who: Identity) -> str:
    return f"canceled by {'the client' if who == OPEN else who.name[:100] or who.owner}"
