"""Two sites whose workers the test plays, a real store, and a scheduler that can be restarted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tesp_api.bell import Bell
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.scheduler import Scheduler
from tesp_api.settings import Settings
from tesp_api.store.base import Task
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.tes.states import FINAL, State
from tests.factories import make_task
from tests.fakes.lender import LendsNothing
from tests.fakes.pulsar import FakePulsar
from tests.fakes.site import FakeWorker

TIMING = {
    "lease_s": 3,
    "scan_s": 0.05,
    "poll_min_s": 0.005,
    "poll_max_s": 0.05,
    "heartbeat_s": 0.05,
    "lost_after_s": 0.5,
    "cancel_grace_s": 0.1,
}


class Sites:
    """`sites` by name; `tables` are further tables of the settings."""

    def __init__(self, folder: Path, sites: Mapping[str, Any], tables: Mapping[str, Any]) -> None:
        self.settings = Settings.model_validate(
            {
                "scheduler": TIMING,
                "destinations": {n: {"kind": "rest", "url": "http://x", **s} for n, s in sites.items()},
            }
            | dict(tables)
        )
        self.store = SqliteTaskStore(folder)
        self.pulsars = {name: FakePulsar(name) for name in sites}
        self.bell = Bell()
        self.scheduler: Scheduler | None = None

    async def start(self) -> None:
        self.scheduler = Scheduler(
            self.store, self.pulsars, self.settings, self.bell, LendsNothing(), Gateway(self.settings)
        )
        await self.scheduler.start()

    async def stop(self) -> None:
        if self.scheduler is not None:
            await self.scheduler.stop()
            self.scheduler = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def submit(self, *, preemptible: bool = False, parameters: Mapping[str, str] | None = None) -> str:
        resources = {"preemptible": preemptible, "backend_parameters": dict(parameters or {})}
        task = make_task(resources=resources)
        await self.store.create(task)
        self.bell.ring(task.id)
        return task.id

    async def cancel(self, task_id: str) -> None:
        await self.store.request_cancel(task_id, "asked for")
        self.bell.ring(task_id)

    async def worker(self, task_id: str, attempt: int = 1) -> FakeWorker:
        """The worker of an attempt, wherever it was launched."""
        job_id = f"{task_id}-{attempt}"

        async def launched() -> bool:
            return any(job_id in pulsar.launches for pulsar in self.pulsars.values())

        await until_true(launched)
        return FakeWorker(next(one for one in self.pulsars.values() if job_id in one.launches), job_id)

    def launches(self) -> list[str]:
        return [job_id for pulsar in self.pulsars.values() for job_id in pulsar.launches]

    async def ended(self, task_id: str) -> Task:
        """The task once nothing is left to do for it."""

        async def retired() -> bool:
            task = await self.store.get(task_id)
            return task.state in FINAL and not task.live

        await until_true(retired)
        return await self.store.get(task_id)

    async def in_state(self, task_id: str, state: State) -> None:
        async def there() -> bool:
            return await self.store.get_state(task_id) is state

        await until_true(there)

    async def given_up(self, task_id: str, attempt: int = 1) -> Task:
        """The task once an attempt is closed, and its job gone."""

        async def closed() -> bool:
            logs = (await self.store.get(task_id)).logs
            job_id = f"{task_id}-{attempt}"
            is_gone = all(job_id not in pulsar.jobs for pulsar in self.pulsars.values())
            return is_gone and len(logs) >= attempt and "next_attempt_at" in logs[attempt - 1]["metadata"]

        await until_true(closed)
        return await self.store.get(task_id)

    async def states(self, task_id: str) -> list[str]:
        """The task's states, one after the other."""
        history = [entry.state for entry in await self.store.history(task_id)]
        return [one for one, before in zip(history, [None, *history], strict=False) if one is not before]


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in the store
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    folder: Path, sites: Mapping[str, Any] | None = None, **tables: Mapping[str, Any]
) -> AsyncIterator[Sites]:
    """The sites (one, unless given), with the scheduler started."""
    opened = Sites(folder, sites or {"near": {}}, tables)
    await opened.store.open()
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()
        await opened.store.aclose()
