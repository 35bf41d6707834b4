"""What ended long ago is deleted, in small batches, and nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from tesp_api.errors import StoreUnavailable
from tesp_api.runner import retention
from tesp_api.runner.retention import Retention
from tesp_api.store.base import Changes, TaskQuery
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import FakeClock
from tests.factories import make_task

AGE_S = 3600.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteTaskStore]:
    opened = SqliteTaskStore(tmp_path, clock=clock)
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAUSE_MIN_S", 0)


async def add(store: SqliteTaskStore, count: int, *, ended: bool = True, retired: bool = True) -> None:
    for _ in range(count):
        await store.create(make_task())
    for task in await store.claim("test", lease_s=60, new_limit=count):
        assert task.claim
        if ended:
            changes = Changes(attempt=1, log={})
            await store.transition(
                task.id, State.SYSTEM_ERROR, claim=task.claim, reason="over", changes=changes
            )
            if retired:
                await store.retire(task.claim)
    await store.release("test")


async def left(store: SqliteTaskStore) -> int:
    return len((await store.list_states(TaskQuery(page_size=2047))).items)


async def test_only_what_ended_long_ago_goes(store: SqliteTaskStore, clock: FakeClock) -> None:
    await add(store, 3)
    clock.advance(AGE_S / 2)
    await add(store, 2)
    sweeper = Retention(store, AGE_S, clock)
    assert await sweeper.sweep() == 0
    clock.advance(AGE_S / 2 + 1)
    assert await sweeper.sweep() == 3
    assert await left(store) == 2
    clock.advance(AGE_S / 2)
    assert await sweeper.sweep() == 2


async def test_what_lives_or_is_cleaned_up_stays(store: SqliteTaskStore, clock: FakeClock) -> None:
    await add(store, 1, retired=False)
    await add(store, 1, ended=False)
    clock.advance(AGE_S * 1000)
    assert await Retention(store, AGE_S, clock).sweep() == 0
    assert await left(store) == 2


async def test_batches_are_small(
    store: SqliteTaskStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH", 10)
    await add(store, 25)
    clock.advance(AGE_S + 1)
    limits = []
    purge = store.purge

    async def counted(ended_before: datetime, *, limit: int) -> int:
        limits.append(limit)
        return await purge(ended_before, limit=limit)

    monkeypatch.setattr(store, "purge", counted)
    assert await Retention(store, AGE_S, clock).sweep() == 25
    assert limits == [10, 10, 10]


async def test_two_sweeps_at_once_share_the_work(
    store: SqliteTaskStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH", 5)
    await add(store, 40)
    clock.advance(AGE_S + 1)
    counts = await asyncio.gather(*(Retention(store, AGE_S, clock).sweep() for _ in range(2)))
    assert sum(counts) == 40
    assert await left(store) == 0


async def test_others_get_their_turn_between_batches(
    store: SqliteTaskStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pause is as long as the batch before it took."""
    paused: list[float] = []
    sleep = asyncio.sleep

    async def slow_purge(_: datetime, *, limit: int) -> int:
        await sleep(0.02)
        return limit if len(paused) < 3 else 0

    async def note(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(store, "purge", slow_purge)
    monkeypatch.setattr("tesp_api.runner.retention.asyncio.sleep", note)
    await Retention(store, AGE_S, clock).sweep()
    assert len(paused) == 3
    assert min(paused) >= 0.02


async def test_the_loop_survives_a_store_that_is_away_and_says_what_it_did(
    store: SqliteTaskStore,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(retention, "_SWEEP_MAX_S", 0.01)
    caplog.set_level(logging.INFO)
    await add(store, 3)
    clock.advance(AGE_S + 1)
    purge, failures = store.purge, [StoreUnavailable("locked"), OSError("a bug")]

    async def flaky(ended_before: datetime, *, limit: int) -> int:
        if failures:
            raise failures.pop()
        return await purge(ended_before, limit=limit)

    monkeypatch.setattr(store, "purge", flaky)
    sweeper = Retention(store, AGE_S, clock)
    await sweeper.start()
    async with asyncio.timeout(10):
        while await left(store):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await sweeper.stop()
    await sweeper.stop()
    assert "could not be purged: locked" in caplog.text
    assert "purging finished tasks failed" in caplog.text
    assert "purged 3 tasks and runs that ended over 3600 s ago" in caplog.text
