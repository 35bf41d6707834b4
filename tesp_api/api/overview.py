"""What a dashboard shows before anything else, under `/tesp/v1`: rows of tasks, counts, destinations, you.

These are views for people: fast with a million tasks, and without any content.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import ANYBODY, Action, sender
from tesp_api.api.auth.permissions import require
from tesp_api.api.auth.visible_tasks import VisibleTasks
from tesp_api.api.limits.list_turns import ListTurns
from tesp_api.api.limits.request_rate import charge
from tesp_api.api.live.endpoints import LiveEndpoints
from tesp_api.api.live.feed import counts_shown
from tesp_api.api.queries import PAGE_SIZE_MAX, QueryReader, read_tags, reading
from tesp_api.errors import NotAllowed, TaskNotFound
from tesp_api.store.base import Standing, TaskQuery, TaskStore
from tesp_api.store.glimpses import ListedTask
from tesp_api.store.page_token import token_after
from tesp_api.tes.states import State
from tesp_api.tes.times import rfc3339

ROWS_DEFAULT = 50
WAIT_MAX_S = 60
_PAGE_BYTES = 1024**2
_ROWS_PER_REQUEST = 200
"""So many rows count as one request more."""
_TAGS_BYTES = 4096
"""A row with more of them goes without: they are in the task itself."""

Destinations = Callable[[], Sequence[Mapping[str, Any]]]


class OverviewEndpoints:
    """Reads for people who look at many tasks at once."""

    def __init__(
        self,
        store: TaskStore,
        live: LiveEndpoints,
        list_turns: ListTurns,
        destinations: Destinations,
        ways: Sequence[str],
    ) -> None:
        """`destinations` tells how they are, with all that admins may know; `ways` how to log in."""
        self._store = store
        self._tasks = VisibleTasks(store)
        self._live = live
        self._list_turns = list_turns
        self._destinations = destinations
        self._ways = list(ways)

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints as routes."""
        return [
            Route(f"{prefix}/tasks", self.list_rows, methods=["GET"]),
            Route(f"{prefix}/tasks/{{id}}", self.read_row, methods=["GET"]),
            Route(f"{prefix}/counts", self.read_counts, methods=["GET"]),
            Route(f"{prefix}/destinations", self.read_destinations, methods=["GET"]),
            Route(f"{prefix}/me", self.read_me, methods=["GET"]),
        ]

    async def list_rows(self, request: Request) -> Response:
        """A page of rows, newest first.

        Raises:
            NotAllowed: it asks for the tasks of somebody else.
        """
        who = sender(request)
        require(who, Action.READ)
        query = _read_query(request)
        if query.owner is not None and query.owner != who.owner and not who.is_admin:
            raise NotAllowed("only admins may list the tasks of somebody else: leave owner out")
        is_costly = _filters_in(query) > 1
        if is_costly:
            async with self._list_turns.turn(who):
                page = await self._tasks.list_states(who, query)
        else:
            page = await self._tasks.list_states(who, query)
        ids = [task_id for task_id, _ in page.items]
        rows, is_cut = await self._rows(ids)
        charge(request, len(rows) / _ROWS_PER_REQUEST)
        token = token_after(rows[-1]["id"]) if is_cut else page.next_token
        return json_answer({"tasks": rows} | ({"next_page_token": token} if token else {}))

    async def read_row(self, request: Request) -> Response:
        """A task's row; with `wait`, once the task is in another state than `state_not`, or has ended.

        Without `state_not` any change of its state, or another attempt, ends the wait.
        """
        task = await self._tasks.get(sender(request), request.path_params["id"])
        with reading(request.query_params) as query:
            wait_s = query.integer("wait", 0, least=0, most=WAIT_MAX_S)
            state_not = query.member("state_not", State)
        if wait_s:
            before = (task.state, task.attempt)

            def differs(now: Standing) -> bool:
                return now.state is not state_not if state_not else (now.state, now.attempt) != before

            await self._live.wait_for_change(request, task, wait_s, differs)
        rows, _ = await self._rows([task.id])
        if not rows:
            raise TaskNotFound(task.id)
        return json_answer(rows[0])

    async def read_counts(self, request: Request) -> Response:
        """How many of the tasks that they see are in which state."""
        who = sender(request)
        require(who, Action.READ)
        owner, groups = (None, ()) if who.is_admin else (who.owner, who.groups)
        return json_answer(counts_shown(await self._store.counts(owner, groups)))

    async def read_destinations(self, request: Request) -> Response:
        """How the destinations are; why one does not answer, and where it is, is for admins."""
        who = sender(request)
        require(who, Action.READ)
        told = [one if who.is_admin else _without_details(one) for one in self._destinations()]
        return json_answer({"destinations": told})

    async def read_me(self, request: Request) -> Response:
        """Who they are to this server, and what they may do."""
        who = sender(request)
        about: dict[str, Any] = {"subject": who.subject, "groups": sorted(who.groups)}
        about |= {"is_admin": who.is_admin, "scopes": sorted(who.scopes), "ways": self._ways}
        if who.subject != ANYBODY:
            about |= {"issuer": who.issuer, "owner": who.owner} | ({"name": who.name} if who.name else {})
        return json_answer(about)

    async def _rows(self, ids: Sequence[str]) -> tuple[list[dict[str, Any]], bool]:
        """The rows of these tasks, and whether the last ones were left out for want of room."""
        rows: list[dict[str, Any]] = []
        left, room = list(ids), _PAGE_BYTES
        while left:
            listed = await self._store.read_listed(left)
            for task in listed:
                row = _row(task)
                room -= len(str(row))
                if room < 0 and rows:
                    return rows, True
                rows.append(row)
            if not listed:
                break
            left = left[left.index(listed[-1].id) + 1 :]
        return rows, False


def _read_query(request: Request) -> TaskQuery:
    with reading(request.query_params) as query:
        return TaskQuery(
            states=_read_states(query),
            name_prefix=query.text("name_prefix"),
            tags=read_tags(query),
            owner=query.text("owner") or None,
            page_size=query.integer("page_size", ROWS_DEFAULT, least=1, most=PAGE_SIZE_MAX),
            after=query.text("page_token") or None,
            destination=query.text("destination"),
            created_from=query.moment("created_after"),
            created_before=query.moment("created_before"),
        )


def _read_states(query: QueryReader) -> frozenset[State] | None:
    given = frozenset(query.members("state", State))
    return given or None


def _filters_in(query: TaskQuery) -> int:
    """Of those for which a store has no index together: see `ListTurns`."""
    return bool(query.name_prefix) + len(query.tags) + bool(query.destination)


def _row(task: ListedTask) -> dict[str, Any]:
    """What is not there is absent."""
    row: dict[str, Any] = {"id": task.id, "state": task.state, "owner": task.owner, "attempt": task.attempt}
    row["created_at"] = rfc3339(task.created_at)
    row |= {"name": task.name} if task.name else {}
    row |= {"destination": task.destination} if task.destination else {}
    row |= {"ended_at": rfc3339(task.ended_at)} if task.ended_at else {}
    row |= {"image": task.image} if task.image else {}
    return row | ({"tags": dict(task.tags)} if task.tags and len(str(task.tags)) <= _TAGS_BYTES else {})


def _without_details(destination: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in destination.items() if key != "place"}
    shown["health"] = {key: value for key, value in shown["health"].items() if key != "reason"}
    return shown
