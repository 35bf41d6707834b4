"""The real server, except that a task stops for ever at the point that its tag `stall` names.

`STALLED_DIR` names a folder where a file `{point}` is made once a task has stopped there. A point is
`before:METHOD` or `after:METHOD` of the store or the transport, with `:STATE` for a transition.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import tesp_api.app
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore

_real_store, _real_transports = tesp_api.app.build_store, tesp_api.app.build_transports
_store: list[TaskStore] = []


class Stalling:
    """Stands before a store or a transport and passes everything on, unless it is a task's point."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._real, name)
        return self._wrapped(name, attribute) if asyncio.iscoroutinefunction(attribute) else attribute

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


def _task_of(arguments: list[Any]) -> str | None:
    """The id of the task that a call is about: from a claim, a job's order, or an id itself."""
    for value in arguments:
        text = getattr(value, "task_id", None) or getattr(value, "job_id", None) or value
        if isinstance(text, str) and len(text) >= 36:
            return text[:36]
    return None


async def _stall(task_id: str | None, point: str) -> None:
    if task_id is None or point.split(":")[1] in ("get", "create", "read_file", "wait_for_news", "status"):
        return
    task = await _store[0].get(task_id)
    if task.request.get("tags", {}).get("stall") == point:
        (Path(os.environ["STALLED_DIR"]) / point).touch()
        await asyncio.Event().wait()


def _stalling_store(settings: Settings) -> Any:
    _store.append(_real_store(settings))
    return Stalling(_store[0])


def _stalling_transports(settings: Settings) -> Mapping[str, PulsarTransport]:
    real: Mapping[str, Any] = _real_transports(settings)
    return {name: Stalling(transport) for name, transport in real.items()}


tesp_api.app.build_store = _stalling_store
tesp_api.app.build_transports = _stalling_transports
app = tesp_api.app.create_app()
