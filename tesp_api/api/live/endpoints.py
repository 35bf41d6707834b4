"""The streams' endpoints, under `/tesp/v1`."""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.auth.identity import Action, Identity, sender, sender_again
from tesp_api.api.auth.permissions import require
from tesp_api.api.auth.visible_runs import VisibleRuns
from tesp_api.api.auth.visible_tasks import VisibleTasks
from tesp_api.api.live.crowd import Source, direct_write
from tesp_api.api.live.frames import RETRY, Step
from tesp_api.api.live.hub import LiveHub
from tesp_api.api.live.response import LiveResponse, StreamPlaces
from tesp_api.api.live.run_stream import RunPlace, RunStream
from tesp_api.api.live.streams import Reader, follow, follow_everything
from tesp_api.api.live.task_stream import LogForm, TaskPlace, TaskStream, check_place
from tesp_api.api.queries import QueryReader, reading
from tesp_api.errors import Fault, StoreUnavailable
from tesp_api.store.base import Standing, Stream, Task, TaskStore
from tesp_api.store.runs import RunStore
from tesp_api.tes.states import FINAL

_SSE = "text/event-stream"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RAW_PART_BYTES = 256 * 1024
_FORMS: dict[str, LogForm] = {
    "": "text",
    "true": "text",
    "text": "text",
    "base64": "base64",
    "false": "false",
}


def wants_stream(request: Request) -> bool:
    """Whether the client asks for server-sent events."""
    return _SSE in request.headers.get("accept", "").lower()


class LiveEndpoints:
    """Streams of tasks, of runs, and of all that a user sees."""

    def __init__(self, store: TaskStore, runs: RunStore | None, hub: LiveHub, places: StreamPlaces) -> None:
        self._store = store
        self._run_store = runs
        self._tasks = VisibleTasks(store)
        self._runs = VisibleRuns(runs) if runs is not None else None
        self._hub = hub
        self._places = places

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints as routes; a task's stream is at the same path as its events."""
        of_runs = [Route(f"{prefix}/runs/{{id}}/events", self.follow_run, methods=["GET"])]
        return [
            Route(f"{prefix}/events", self.follow_all, methods=["GET"]),
            *(of_runs if self._run_store is not None else ()),
        ]

    async def follow_all(self, request: Request) -> Response:
        """Every change of a task's state that they see, and the counts."""
        who = sender(request)
        require(who, Action.READ)

        async def may_read() -> Identity:
            again = await sender_again(request)
            require(again, Action.READ)
            return again

        reader = Reader(may_read, self._hub, direct_write(request.scope))
        return self._answer(request, lambda: follow_everything(self._hub, self._store, who, reader))

    async def follow_task(self, request: Request) -> Response:
        """What happens to a task, until it has ended; from the place in Last-Event-ID on, if there is one."""
        task = await self._tasks.get(sender(request), request.path_params["id"])
        with reading(request.query_params) as query:
            form = _log_form(query)
            last = _last_event_id(request, query)
        place = TaskPlace.read(last) if last else TaskPlace(task.attempt)
        await check_place(self._store, task.id, place)

        async def stream() -> AsyncIterator[bytes]:
            with self._hub.follow(task.id, lambda: TaskStream(self._store, task)) as topic:
                yield RETRY
                view: TaskStream = topic.view
                reader = Reader(
                    partial(self._still_sees_task, request, task.id), self._hub, direct_write(request.scope)
                )
                source: Source = (form, lambda at: view.after(at, form))
                async for piece in follow(topic, place, lambda: source, reader):
                    yield piece

        return self._answer(request, stream)

    async def follow_run(self, request: Request) -> Response:
        """What happens to a run, until it has ended."""
        assert self._runs is not None and self._run_store is not None  # noqa: S101 - else there is no route
        runs, run_id = self._run_store, request.path_params["id"]
        await self._runs.require(sender(request), Action.READ, run_id)
        with reading(request.query_params) as query:
            form = _log_form(query)
            last = _last_event_id(request, query)
        place = RunPlace.read(last) if last else RunPlace()

        async def stream() -> AsyncIterator[bytes]:
            with self._hub.follow(run_id, lambda: RunStream(runs, self._store, self._hub, run_id)) as topic:
                yield RETRY
                view: RunStream = topic.view
                reader = Reader(
                    partial(self._still_sees_run, request, run_id), self._hub, direct_write(request.scope)
                )
                source: Source = (form, lambda at: view.after(at, form))
                async for piece in follow(topic, place, lambda: source, reader):
                    yield piece

        return self._answer(request, stream)

    def follow_log(
        self, request: Request, task: Task, attempt: int, executor: int, stream: Stream, offset: int
    ) -> Response:
        """The raw bytes of a log from `offset` on, until no more can come."""

        async def read(at: int) -> Step[int]:
            standing = await self._store.get_standing(task.id)
            part = await self._store.read_log(
                task.id, attempt, executor, stream, offset=at, limit=_RAW_PART_BYTES
            )
            is_live = standing.attempt == attempt and standing.state not in FINAL
            end = part.offset + len(part.data)
            return Step(part.data, end, is_over=not is_live and not part.data, has_more=bool(part.data))

        async def pieces() -> AsyncIterator[bytes]:
            begin = offset
            if begin < 0:
                total = await self._store.log_size(task.id, attempt, executor, stream)
                begin = max(0, total + begin)
            with self._hub.follow(task.id, lambda: TaskStream(self._store, task)) as topic:
                reader = Reader(
                    partial(self._still_sees_task, request, task.id), self._hub, direct_write(request.scope)
                )
                name = (attempt, executor, stream)
                async for piece in follow(topic, begin, lambda: (name, read), reader, keep_alive=b""):
                    yield piece

        headers = {"X-Content-Type-Options": "nosniff", **_HEADERS}
        kind = "text/plain; charset=utf-8"
        return LiveResponse(pieces, self._places, sender(request), media_type=kind, headers=headers)

    async def wait_for_change(
        self, request: Request, task: Task, wait_s: float, differs: Callable[[Standing], bool]
    ) -> None:
        """Return once the task `differs`, has ended or was deleted, or the time is over."""
        deadline = time.monotonic() + wait_s
        with (
            self._places.place(sender(request)),
            self._hub.follow(task.id, lambda: TaskStream(self._store, task)) as topic,
        ):
            while True:
                seen = topic.generation
                try:
                    standing: Standing = await topic.share(
                        "standing", lambda: self._store.get_standing(task.id)
                    )
                except StoreUnavailable:
                    if time.monotonic() + 1 >= deadline:
                        raise
                    await topic.wait(seen, 1.0)
                    continue
                left_s = deadline - time.monotonic()
                is_over = standing.state in FINAL or differs(standing)
                if is_over or left_s <= 0 or self._hub.is_closing or await request.is_disconnected():
                    return
                await topic.wait(seen, left_s)

    async def _still_sees_task(self, request: Request, task_id: str) -> Identity:
        who = await sender_again(request)
        await self._tasks.require(who, Action.READ, task_id)
        return who

    async def _still_sees_run(self, request: Request, run_id: str) -> Identity:
        assert self._runs is not None  # noqa: S101 - else there is no route
        who = await sender_again(request)
        await self._runs.require(who, Action.READ, run_id)
        return who

    def _answer(self, request: Request, source: Callable[[], AsyncIterator[bytes]]) -> Response:
        return LiveResponse(source, self._places, sender(request), media_type=_SSE, headers=_HEADERS)


def _log_form(query: QueryReader) -> LogForm:
    given = query.text("logs").lower()
    if given not in _FORMS:
        query.faults.append(Fault("logs", "must be text, base64 or false"))
    return _FORMS.get(given, "text")


def _last_event_id(request: Request, query: QueryReader) -> str:
    """Of the header, which browsers send by themselves, or of the parameter, for those who cannot send it."""
    return request.headers.get("last-event-id", "") or query.text("last_event_id")
