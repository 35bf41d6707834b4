"""The stores that keep the contract. A new store is one line in STORES."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tesp_api.store.base import Claim, Task, TaskStore
from tesp_api.store.sqlite import SqliteTaskStore
from tests.factories import make_task


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


STORES: dict[str, Callable[[Path, FakeClock], TaskStore]] = {
    "sqlite": lambda folder, clock: SqliteTaskStore(folder / "data", clock=clock),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[TaskStore]:
    opened = STORES[request.param](tmp_path, clock)
    await opened.open()
    yield opened
    await opened.aclose()


class Driver:
    """A runner reduced to its claims."""

    def __init__(self, store: TaskStore, owner: str = "runner") -> None:
        self.store, self.owner = store, owner

    async def claim(self, *, lease_s: float = 60, new_limit: int = 1000) -> list[Task]:
        return await self.store.claim(self.owner, lease_s=lease_s, new_limit=new_limit)

    async def take(self, task: Task) -> Claim:
        """Store `task` and claim it."""
        await self.store.create(task)
        return await self.take_stored(task.id)

    async def take_stored(self, task_id: str) -> Claim:
        (claim,) = [task.claim for task in await self.claim() if task.id == task_id]
        assert claim is not None
        return claim


@pytest.fixture
def runner(store: TaskStore) -> Driver:
    return Driver(store)


@pytest.fixture
async def task(store: TaskStore) -> Task:
    """A task that is stored, QUEUED and unclaimed."""
    made = make_task()
    await store.create(made)
    return made
