"""The real server, except that a task stops for ever at the point that its tag `stall` names.

`STALLED_DIR` names a folder where a file `{point}` is made once a task has stopped there. A point is
`before:METHOD` or `after:METHOD` of the store or the transport, with `:STATE` for a transition;
`within:launch:setup` and `within:launch:submit` are before the upload and before the submission of a job.
With `freeze:` before it, the whole process stands still there, as if it was stopped, until the file `go_on`
appears in that folder.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import tesp_api.app
import tesp_api.pulsar.local_pulsar
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.pulsar.local_job import LocalJob
from tesp_api.pulsar.mailbox import Mailbox
from tesp_api.pulsar.rest_http import PulsarHttp
from tesp_api.settings import Settings
from tesp_api.store.base import Task, TaskStore

_real_store, _real_transports = tesp_api.app.build_store, tesp_api.app.build_transports
_points: dict[str, str] = {}
"""The point at which each task stops, by its id."""


class Stalling:
    """Stands before a store or a transport and passes everything on, unless it is a task's point."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._real, name)
        return self._wrapped(name, attribute) if asyncio.iscoroutinefunction(attribute) else attribute

    async def create(self, task: Task, **more: Any) -> str:
        _points[task.id] = task.request.get("tags", {}).get("stall", "")
        task_id: str = await self._real.create(task, **more)
        return task_id

    def _wrapped(
        self, name: str, method: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            point = f"{name}:{args[1]}" if name == "transition" else name
            task_id = _task_of([*args, *kwargs.values()])
            await _stall(task_id, f"before:{point}")
            result = await method(*args, **kwargs)
            await _stall(task_id, f"after:{point}")
            return result

        return call


def _task_of(arguments: list[Any]) -> str:
    """The id of the task that a call is about: from a claim, a job's order, or an id itself."""
    for value in arguments:
        text = getattr(value, "task_id", None) or getattr(value, "job_id", None) or value
        if isinstance(text, str) and len(text) >= 36:
            return text[:36]
    return ""


def _stops(task_id: str, point: str) -> bool:
    stops = _points.get(task_id) == point
    if stops:
        (Path(os.environ["STALLED_DIR"]) / point).touch()
    return stops


async def _stall(task_id: str, point: str) -> None:
    if _stops(task_id, point):
        await asyncio.Event().wait()
    if _stops(task_id, f"freeze:{point}"):
        _points[task_id] = ""
        while not (Path(os.environ["STALLED_DIR"]) / "go_on").exists():
            time.sleep(0.02)  # noqa: ASYNC251 - nothing else shall happen


def _stall_thread(job: LocalJob, point: str) -> None:
    if _stops(job.job_id[:36], point):
        threading.Event().wait()


class StallingJob(LocalJob):
    """The embedded transport's steps between setup and submission."""

    def place(self, order: Any, worker: Any) -> None:
        _stall_thread(self, "within:launch:setup")
        super().place(order, worker)
        _stall_thread(self, "within:launch:submit")


async def _send(http: PulsarHttp, method: str, path: str, *args: Any, **kwargs: Any) -> bytes:
    """The REST transport's steps between setup and submission."""
    if method == "POST" and "/jobs/" in path:
        task_id = path.partition("/jobs/")[2][:36]
        await _stall(task_id, f"within:launch:{'submit' if path.endswith('/submit') else 'setup'}")
    answer: bytes = await _real_send(http, method, path, *args, **kwargs)
    return answer


def _stalling_transports(
    settings: Settings, mailbox: Mailbox | None = None, reported: Mapping[str, Mailbox] = MappingProxyType({})
) -> Mapping[str, PulsarTransport]:
    real: Mapping[str, Any] = _real_transports(settings, mailbox, reported)
    return {name: Stalling(transport) for name, transport in real.items()}


def _stalling_store(settings: Settings) -> TaskStore:
    return cast(TaskStore, Stalling(_real_store(settings)))


_http: Any = PulsarHttp
_embedded: Any = tesp_api.pulsar.local_pulsar
_real_send = _http.send
_http.send = _send
_embedded.LocalJob = StallingJob
tesp_api.app.build_store = _stalling_store
tesp_api.app.build_transports = _stalling_transports
app = tesp_api.app.create_app()
