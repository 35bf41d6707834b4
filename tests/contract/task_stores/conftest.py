"""The stores that keep the contract. A new store is one line in STORES."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tesp_api.store.base import Claim, Task, TaskStore
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.sqlite import SqliteTaskStore
from tests.factories import make_task
from tests.services.mongod import Mongod


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass(frozen=True)
class StoreKind:
    """A store to be tested: `handle` makes a new object upon the data of one test, not yet open."""

    handle: Callable[[pytest.FixtureRequest, Path, FakeClock], TaskStore]
    shared: bool = False
    """Whether several objects may be open upon the same data, each in a server of its own."""


def _mongo(server: str) -> Callable[[pytest.FixtureRequest, Path, FakeClock], TaskStore]:
    def handle(request: pytest.FixtureRequest, folder: Path, clock: FakeClock) -> TaskStore:
        running: Mongod = request.getfixturevalue(server)
        request.addfinalizer(lambda: running.take_back(folder))
        return MongoTaskStore(running.url, database=running.lend(folder), clock=clock)

    return handle


STORES = {
    "sqlite": StoreKind(lambda _, folder, clock: SqliteTaskStore(folder / "data", clock=clock)),
    "mongodb": StoreKind(_mongo("mongod"), shared=True),
    "mongodb-replica-set": StoreKind(_mongo("mongod_replica_set"), shared=True),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.services] if name.startswith("mongodb") else [])
        for name in STORES
    ]
)
def kind(request: pytest.FixtureRequest) -> StoreKind:
    return STORES[request.param]


@pytest.fixture
def handle(
    request: pytest.FixtureRequest, kind: StoreKind, tmp_path: Path, clock: FakeClock
) -> Callable[[], TaskStore]:
    """Makes objects upon the same data: each a server that starts, or starts again."""
    return lambda: kind.handle(request, tmp_path, clock)


@pytest.fixture
async def store(handle: Callable[[], TaskStore]) -> AsyncIterator[TaskStore]:
    opened = handle()
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
