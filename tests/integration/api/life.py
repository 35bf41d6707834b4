"""What a runner would do to tasks, and what tests look at in answers."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette

from tesp_api.bell import Bell
from tesp_api.store.base import Changes, Claim, Job, TaskStore
from tesp_api.tes.states import State

TES = "/ga4gh/tes/v1"
V1 = "/v1"
AT = "2026-01-01T00:00:00.000000+00:00"

TRANSFER: dict[str, Any] = {
    "direction": "input",
    "url": "http://a/b",
    "path": "/b",
    "done_bytes": 5,
    "files_done": 0,
}
EVENTS: list[dict[str, Any]] = [
    {"seq": number, "at": AT, **event}
    for number, event in enumerate(
        [
            {"event": "initializing"},
            {"event": "transfer", **TRANSFER, "total_bytes": None, "files_total": None, "ended": False},
            {"event": "message", "text": "image pulled"},
            {"event": "executor_started", "executor": 0},
            {"event": "executor_ended", "executor": 0, "exit_code": 0, "started_at": AT, "ended_at": AT},
            {"event": "staging_out"},
            {"event": "ended", "state": "COMPLETE"},
        ]
    )
]
"""What a worker says, as it writes it."""


def lines_of(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Events as they lie in the store."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


class RingingBell(Bell):
    """Remembers for which tasks it was rung."""

    def __init__(self) -> None:
        super().__init__()
        self.rung: list[str] = []
        self.listen(self.rung.append)


@asynccontextmanager
async def connect(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application in this process, whose store is open."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tesp") as client:
        yield client


async def create(client: httpx.AsyncClient, prefix: str = TES, **parts: Any) -> str:
    """Create a task over HTTP and return its id."""
    document = {"executors": [{"image": "alpine", "command": ["true"]}]} | parts
    answer = await client.post(f"{prefix}/tasks", json=document)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["id"]
    return str(answer.json()["id"])


async def claim(store: TaskStore, task_id: str) -> Claim:
    """The claim of one task, all others being claimed too."""
    claimed = {task.id: task.claim for task in await store.claim("test", lease_s=60, new_limit=10_000)}
    held = claimed[task_id]
    assert held is not None
    return held


async def start(store: TaskStore, task_id: str) -> Claim:
    """Bring a QUEUED task to RUNNING in its first attempt."""
    held = await claim(store, task_id)
    await store.update(task_id, Changes(attempt=1, job=Job("local", f"{task_id}-1")), claim=held)
    for state in (State.INITIALIZING, State.RUNNING):
        await store.transition(task_id, state, claim=held, reason="the worker said so")
    return held


async def finish(store: TaskStore, held: Claim, stdout: bytes, stderr: bytes = b"") -> None:
    """End a running task COMPLETE, its executor having written these bytes."""
    await store.append_log(held, 1, 0, "stdout", 0, stdout)
    if stderr:
        await store.append_log(held, 1, 0, "stderr", 0, stderr)
    log = {
        "logs": [{"start_time": "2026-01-01T00:00:00+00:00", "exit_code": 0}],
        "outputs": [{"url": "file:///o", "path": "/o", "size_bytes": "12"}],
        "system_logs": ["image pulled"],
        "metadata": {"host": "here"},
    }
    await store.transition(
        held.task_id, State.COMPLETE, claim=held, reason="the worker ended", changes=Changes(log=log)
    )


def nulls_in(value: Any, path: str = "") -> list[str]:
    """Where an answer holds a null."""
    if isinstance(value, dict):
        return [at for key, item in value.items() for at in nulls_in(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [at for index, item in enumerate(value) for at in nulls_in(item, f"{path}[{index}]")]
    return [path] if value is None else []
