"""What TESP offers beyond the standard, under `/tesp/v1`, so that the standard's paths stay pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import Action, sender
from tesp_api.api.auth.visible_tasks import VisibleTasks
from tesp_api.api.live.endpoints import LiveEndpoints, wants_stream
from tesp_api.api.live.task_stream import event_shown, in_order
from tesp_api.api.queries import reading
from tesp_api.api.ranges import read_range
from tesp_api.store.base import Stream, Task, TaskStore
from tesp_api.tes.states import FINAL, State
from tesp_api.tes.times import rfc3339

LIMIT_DEFAULT_BYTES = 1024**2
LIMIT_MAX_BYTES = 8 * 1024**2
FILES_PAGE_BYTES = 256 * 1024
EVENT_STREAMS: tuple[Stream, Stream] = ("gateway", "events")
_OFFSET_MAX_BYTES = 2**53
_STREAMS: dict[str, Stream] = {"stdout": "stdout", "stderr": "stderr"}


WaitsFor = Callable[[Mapping[str, Any], str, bool], str]
"""Says what a task waits for that nobody drives yet: by its document, its owner, and whether its URLs brought
logins; "" if that is not known."""


def knows_nothing(document: Mapping[str, Any], owner: str, has_logins: bool) -> str:
    """Of a server without destinations."""
    return ""


class ExtensionEndpoints:
    """Executors' outputs while they are written, a task's events and history, and its deletion."""

    def __init__(self, store: TaskStore, live: LiveEndpoints, waits_for: WaitsFor) -> None:
        self._store = store
        self._waits_for = waits_for
        self._live = live
        self._tasks = VisibleTasks(store)

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints as routes."""
        return [
            Route(f"{prefix}/tasks/{{id}}", self.delete_task, methods=["DELETE"]),
            Route(f"{prefix}/tasks/{{id}}/logs/{{executor}}/{{stream}}", self.read_log, methods=["GET"]),
            Route(f"{prefix}/tasks/{{id}}/events", self.read_events, methods=["GET"]),
            Route(f"{prefix}/tasks/{{id}}/files", self.read_files, methods=["GET"]),
            Route(f"{prefix}/tasks/{{id}}/history", self.read_history, methods=["GET"]),
        ]

    async def delete_task(self, request: Request) -> Response:
        """Forget a task that has ended, with its history and logs.

        Raises:
            TaskNotOver: it has not ended, or is still being cleaned up.
            TaskInUse: it is a step of a run that has not ended.
        """
        task_id = request.path_params["id"]
        await self._tasks.require(sender(request), Action.DELETE, task_id)
        await self._store.delete(task_id)
        return Response(status_code=204)

    async def read_log(self, request: Request) -> Response:
        """Raw bytes of an executor's stdout or stderr.

        A reader goes on at offset + length; where bytes were dropped from the middle of a long log, the
        offset in the answer is larger than the one asked for. `live` says that more may come: once it is
        false, the answer's total is final. With `follow`, all from `offset` on, until no more can come.
        """
        # The state is read before the log: the runner stores the whole log before it ends a task.
        task = await self._tasks.get(sender(request), request.path_params["id"])
        executor, stream = _executor_of(task, request.path_params["executor"]), request.path_params["stream"]
        if stream not in _STREAMS:
            raise HTTPException(404, f"there is no stream {stream[:40]!r}: choose stdout or stderr")
        with reading(request.query_params) as query:
            attempt = query.integer("attempt", task.attempt, least=1, most=2**31)
            offset = query.integer("offset", 0, least=-_OFFSET_MAX_BYTES, most=_OFFSET_MAX_BYTES)
            limit = query.integer("limit", LIMIT_DEFAULT_BYTES, least=1, most=LIMIT_MAX_BYTES)
            follows = query.flag("follow")
        _check_attempt(task, attempt)
        asked = None if follows else read_range(request)
        if asked is not None:
            offset, limit = asked.first, min(asked.length or LIMIT_MAX_BYTES, LIMIT_MAX_BYTES)
        if follows:
            return self._live.follow_log(request, task, attempt, executor, _STREAMS[stream], offset)
        name = (task.id, attempt, executor, _STREAMS[stream])
        part = await self._store.read_log(*name, offset=offset, limit=limit)
        total = await self._store.log_size(*name)
        live = attempt == task.attempt and task.state not in FINAL
        dropped = part.offset - offset if 0 <= offset < part.offset else 0
        headers = _log_headers(part.offset, total, live) | {"X-Tesp-Log-Dropped": str(dropped)}
        if offset > total or (asked is not None and not part.data):
            unfit = {**headers, **_log_headers(total, total, live), "Content-Range": f"bytes */{total}"}
            raise HTTPException(416, f"the log has {total} bytes, fewer than offset {offset}", unfit)
        if asked is not None:
            end = part.offset + len(part.data) - 1
            headers["Content-Range"] = f"bytes {part.offset}-{end}/{'*' if live else total}"
        status = 200 if asked is None else 206
        return Response(part.data, status, headers, media_type="text/plain; charset=utf-8")

    async def read_events(self, request: Request) -> Response:
        """What was said so far by the worker of an attempt, and by the server where that moves its files.

        A client that asks for server-sent events gets a stream of these, of states and of logs.

        `live` says that more may come: once it is false, nothing will.
        """
        if wants_stream(request):
            return await self._live.follow_task(request)
        # The state is read before the events, as for a log.
        task = await self._tasks.get(sender(request), request.path_params["id"])
        with reading(request.query_params) as query:
            attempt = query.integer("attempt", task.attempt, least=1, most=2**31)
            after = query.integer("after", -1, least=-1, most=2**31)
        _check_attempt(task, attempt)
        # What the gateway sends comes after all of the worker's, and must not be read before that is there.
        gateway, worker = [
            await self._store.read_log(task.id, attempt, 0, stream, offset=0, limit=LIMIT_MAX_BYTES)
            for stream in EVENT_STREAMS
        ]
        lines = in_order(gateway.data.splitlines(), worker.data.splitlines())
        events = [event_shown(seq, line) for seq, (_, line) in enumerate(lines) if seq > after]
        live = attempt == task.attempt and task.state not in FINAL
        return json_answer({"events": events, "attempt": attempt, "live": live})

    async def read_files(self, request: Request) -> Response:
        """A page of what an attempt has moved, each file with its size and checksum."""
        # The state is read before the files, as for a log.
        task = await self._tasks.get(sender(request), request.path_params["id"])
        with reading(request.query_params) as query:
            attempt = query.integer("attempt", task.attempt, least=1, most=2**31)
            begin = query.integer("page_token", 0, least=0, most=_OFFSET_MAX_BYTES)
        _check_attempt(task, attempt)
        live = attempt == task.attempt and task.state not in FINAL
        total = await self._store.log_size(task.id, attempt, 0, "files")
        if not total and not begin:  # few enough for the metadata
            return json_answer({"files": _files_told(task, attempt), "live": live})
        # From the end of the line before, so that a token which is none shows.
        first = max(begin - 1, 0)
        part = await self._store.read_log(task.id, attempt, 0, "files", offset=first, limit=FILES_PAGE_BYTES)
        data = part.data[begin - first : part.data.rfind(b"\n") + 1]
        if not data or (begin and part.data[:1] != b"\n"):
            raise HTTPException(400, f"page_token {begin} is none that an answer has given")
        answer = {"files": [json.loads(line) for line in data.splitlines()], "live": live}
        more = {"next_page_token": str(begin + len(data))} if begin + len(data) < total else {}
        return json_answer(answer | more)

    async def read_history(self, request: Request) -> Response:
        """Every state the task has been in, oldest first."""
        task = await self._tasks.get(sender(request), request.path_params["id"])
        entries = [
            {
                "time": rfc3339(entry.at),
                "state": str(entry.state),
                "attempt": entry.attempt,
                "reason": entry.reason,
            }
            for entry in await self._store.history(task.id)
        ]
        waits_for = self._waits_for(task.request, task.owner, bool(task.sealed)) if _is_untaken(task) else ""
        return json_answer(
            {"id": task.id, "history": entries} | ({"waits_for": waits_for} if waits_for else {})
        )


def _is_untaken(task: Task) -> bool:
    """Whether no server drives the task yet, so that its history cannot say what it waits for."""
    return task.state is State.QUEUED and task.job is None and task.claim is None


def _executor_of(task: Task, given: str) -> int:
    number = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else -1
    count = len(task.request["executors"])
    if not 0 <= number < count:
        raise HTTPException(404, f"task {task.id} has no executor {given[:40]!r}: they are 0 to {count - 1}")
    return number


def _check_attempt(task: Task, attempt: int) -> None:
    if attempt > task.attempt:
        raise HTTPException(404, f"task {task.id} has had {task.attempt} attempts, and no {attempt}")


def _files_told(task: Task, attempt: int) -> list[dict[str, Any]]:
    """The files that the metadata of an attempt's log tells of."""
    metadata = task.logs[attempt - 1].get("metadata", {}) if 0 < attempt <= len(task.logs) else {}
    return [
        {"direction": direction, **file}
        for direction in ("input", "output")
        for file in json.loads(metadata.get(f"{direction}s", "[]"))
    ]


def _log_headers(offset: int, total: int, live: bool) -> dict[str, str]:
    return {
        "X-Tesp-Log-Offset": str(offset),
        "X-Tesp-Log-Total": str(total),
        "X-Tesp-Log-Live": "true" if live else "false",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",  # users' bytes: no browser may take them for a page
    }
