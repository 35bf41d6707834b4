"""The stores of runs that keep the contract, each upon the task store of its database."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tesp_api.store.base import TaskStore
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_runs import MongoRunStore
from tesp_api.store.runs import Run, RunStore
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.store.sqlite_runs import SqliteRunStore
from tests.contract.task_stores.conftest import STORES, FakeClock, StoreKind
from tests.factories import make_run


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
    """Makes task stores upon the same data: each a server that starts, or starts again."""
    return lambda: kind.handle(request, tmp_path, clock)


@pytest.fixture
async def tasks(handle: Callable[[], TaskStore]) -> AsyncIterator[TaskStore]:
    opened = handle()
    await opened.open()
    yield opened
    await opened.aclose()


def runs_of(tasks: TaskStore) -> RunStore:
    """The runs in the database of a task store."""
    if isinstance(tasks, SqliteTaskStore):
        return SqliteRunStore(tasks)
    assert isinstance(tasks, MongoTaskStore)
    return MongoRunStore(tasks)


@pytest.fixture
def runs(tasks: TaskStore) -> RunStore:
    return runs_of(tasks)


@pytest.fixture
async def run(runs: RunStore) -> Run:
    """A run that is stored, QUEUED and unclaimed."""
    made = make_run()
    await runs.create(made)
    return made
