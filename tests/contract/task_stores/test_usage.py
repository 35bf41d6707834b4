"""What users have, and what they may have at most: counted right, whoever creates tasks at the same time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tesp_api.errors import KeyReused, LimitReached, StoreUnavailable
from tesp_api.store.base import Changes, Job, OnceKey, TaskStore
from tesp_api.store.usage import Cap, Usage
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver, FakeClock, StoreKind
from tests.factories import make_task

S = State
LIVE = Cap("limits.user.live_tasks", "live_tasks", 3)
STORED = Cap("limits.user.stored_tasks", "stored_tasks", 3)
ALL_LIVE = Cap("limits.all.live_tasks", "live_tasks", 4, of_all=True)


@pytest.fixture(autouse=True)
def _counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted is asked for again at once."""
    monkeypatch.setattr("tesp_api.store.mongo_usage._FRESH_S", 0.0)
    monkeypatch.setattr("tesp_api.store.mongo_counting._COSTS", 0)


async def fill(store: TaskStore, count: int, *caps: Cap, owner: str = "alice") -> list[str | LimitReached]:
    """Create so many tasks at the same time; what came of each."""

    async def one() -> str | LimitReached:
        try:
            return await store.create(make_task(owner=owner), caps=caps)
        except LimitReached as full:
            return full

    return await asyncio.gather(*(one() for _ in range(count)))


def stored(outcomes: list[str | LimitReached]) -> list[str]:
    return [outcome for outcome in outcomes if isinstance(outcome, str)]


async def end(store: TaskStore, task_id: str, *, log: bytes = b"") -> None:
    """See the task to its end, with a log."""
    (claim,) = [t.claim for t in await store.claim("runner", lease_s=60, new_limit=1000) if t.id == task_id]
    assert claim
    changes = Changes(attempt=1, job=Job("cluster", task_id))
    await store.transition(task_id, S.INITIALIZING, claim=claim, reason="", changes=changes)
    if log:
        await store.append_log(claim, 1, 0, "stdout", 0, log[:3])
        await store.append_log(claim, 1, 0, "stdout", 0, log)
    await store.transition(task_id, S.SYSTEM_ERROR, claim=claim, reason="")
    await store.retire(claim)
    await store.release("runner")


async def test_usage_counts_what_an_owner_has_and_what_all_have(store: TaskStore) -> None:
    assert await store.usage("alice") == await store.usage(None) == Usage()
    ids = stored([*await fill(store, 3), *await fill(store, 2, owner="bob")])
    await end(store, ids[0], log=b"hello")
    await end(store, ids[4], log=b"you")
    assert await store.usage("alice") == Usage(2, 3, 5)
    assert await store.usage("bob") == Usage(1, 2, 3)
    assert await store.usage(None) == Usage(3, 5, 8)
    await store.delete(ids[0])
    assert await store.usage("alice") == Usage(2, 2, 0)
    assert await store.usage(None) == Usage(3, 4, 3)


async def test_a_dropped_part_of_a_log_takes_no_room(store: TaskStore, runner: Driver) -> None:
    claim = await runner.take(make_task(owner="alice"))
    await store.update(claim.task_id, Changes(attempt=1, job=Job("cluster", "job")), claim=claim)
    for offset in range(0, 50, 10):
        await store.append_log(claim, 1, 0, "stdout", offset, b"0123456789")
    await store.drop_log(claim, 1, 0, "stdout", 10, 40)
    await store.transition(claim.task_id, S.SYSTEM_ERROR, claim=claim, reason="")
    await store.retire(claim)
    assert (await store.usage("alice")).stored_log_bytes == 20


async def test_no_more_are_stored_than_there_is_room_for(store: TaskStore) -> None:
    outcomes = await fill(store, 100, LIVE)
    assert len(stored(outcomes)) == 3
    refused = [one for one in outcomes if isinstance(one, LimitReached)]
    assert {(one.name, one.value, one.used, one.retry_after_s) for one in refused} == {
        ("limits.user.live_tasks", 3, 3, 10)
    }
    assert "limits.user.live_tasks is 3, 3 taken: wait until tasks have ended, or cancel some" in str(
        refused[0]
    )
    assert (await store.usage("alice")).stored_tasks == 3


async def test_anothers_tasks_do_not_count_but_for_all(store: TaskStore) -> None:
    assert len(stored(await fill(store, 5, LIVE, ALL_LIVE))) == 3
    outcomes = await fill(store, 5, LIVE, ALL_LIVE, owner="bob")
    assert len(stored(outcomes)) == 1
    assert "limits.all.live_tasks" in {one.name for one in outcomes if isinstance(one, LimitReached)}
    assert await store.usage(None) == Usage(4, 4)


async def test_what_has_ended_makes_room_for_live_ones_and_what_is_deleted_for_stored_ones(
    store: TaskStore,
) -> None:
    first, *_ = stored(await fill(store, 3, LIVE, STORED))
    await end(store, first)
    (full,) = await fill(store, 1, LIVE, STORED)
    assert isinstance(full, LimitReached)
    assert (full.name, full.used) == ("limits.user.stored_tasks", 3)
    assert len(stored(await fill(store, 1, LIVE))) == 1
    assert not stored(await fill(store, 1, LIVE))
    await store.delete(first)
    assert not stored(await fill(store, 1, STORED))
    assert (await store.usage("alice")) == Usage(3, 3)


async def test_full_logs_leave_room_for_no_task(store: TaskStore) -> None:
    logs = Cap("limits.user.stored_log_bytes", "stored_log_bytes", 5)
    first, second = stored(await fill(store, 2, logs))
    await end(store, first, log=b"1234")
    assert stored(await fill(store, 1, logs))
    await end(store, second, log=b"1234")
    (full,) = await fill(store, 1, logs)
    assert isinstance(full, LimitReached)
    assert (full.name, full.value, full.used) == ("limits.user.stored_log_bytes", 5, 8)
    assert stored(await fill(store, 1, logs, owner="bob"))
    await store.delete(second)
    assert stored(await fill(store, 1, logs))


async def test_a_repeat_is_answered_however_full_it_is(store: TaskStore) -> None:
    task, once = make_task(owner="alice"), OnceKey("k", "digest")
    assert await store.create(task, once=once, caps=[LIVE]) == task.id
    await fill(store, 9, LIVE)
    assert await store.create(make_task(owner="alice"), once=once, caps=[LIVE]) == task.id
    assert await store.create(task, caps=[LIVE]) == task.id
    with pytest.raises(KeyReused):
        await store.create(make_task(owner="alice"), once=OnceKey("k", "another"), caps=[LIVE])
    with pytest.raises(LimitReached):
        await store.create(make_task(owner="alice"), once=OnceKey("new", "digest"), caps=[LIVE])
    assert (await store.usage("alice")).stored_tasks == 3


async def test_repeats_take_no_room(store: TaskStore, clock: FakeClock) -> None:
    once = OnceKey("k", "digest")
    repeats = [store.create(make_task(owner="alice"), once=once, caps=[STORED]) for _ in range(20)]
    assert len(set(await asyncio.gather(*repeats))) == 1
    assert len(stored(await fill(store, 9, STORED))) == 2


async def test_what_was_stored_without_limits_counts_once_there_are_some(
    store: TaskStore, kind: StoreKind, handle: Callable[[], TaskStore]
) -> None:
    await fill(store, 2, LIVE)
    if not kind.shared:
        await store.aclose()
    again = handle()
    await again.open()
    try:
        await fill(again, 1)
        third = handle() if kind.shared else again
        if third is not again:
            await third.open()
        assert not stored(await fill(third, 5, LIVE))
        if third is not again:
            await third.aclose()
    finally:
        await again.aclose()


async def test_servers_share_the_room(
    store: TaskStore, kind: StoreKind, handle: Callable[[], TaskStore]
) -> None:
    if not kind.shared:
        pytest.skip("one server has the store for itself")
    servers = [store, handle(), handle()]
    for server in servers[1:]:
        await server.open()
    many = [replace(LIVE, most=25), replace(ALL_LIVE, most=60)]
    for owner, expected in (("alice", 25), ("bob", 25), ("carol", 10)):
        outcomes = await asyncio.gather(*(fill(one, 40, *many, owner=owner) for one in servers))
        assert sum(len(stored(some)) for some in outcomes) == expected
    for server in servers[1:]:
        await server.aclose()


async def test_there_is_room_however_much_another_server_creates(
    store: TaskStore, kind: StoreKind, handle: Callable[[], TaskStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It creates tasks each time that this one has just counted."""
    if not kind.shared:
        pytest.skip("one server has the store for itself")
    other = handle()
    await other.open()
    many = replace(LIVE, most=12)
    await fill(other, 1, many)
    usage = store._opened.usage  # type: ignore[attr-defined]
    count_now = usage._count_now

    async def count_while_others_come(*args: object) -> int:
        found: int = await count_now(*args)
        await fill(other, 2, many)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(usage, "_count_now", count_while_others_come)
        assert len(stored(await fill(store, 3, many))) == 3
    outcomes = [*await asyncio.gather(fill(other, 9, many), fill(store, 9, many))]
    assert any(isinstance(one, LimitReached) for one in outcomes[0] + outcomes[1])
    assert await store.usage("alice") == Usage(12, 12)
    await other.aclose()


async def test_when_another_server_is_faster_to_count_there_is_room_or_nobody_knows(
    store: TaskStore, kind: StoreKind, handle: Callable[[], TaskStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kind.shared:
        pytest.skip("one server has the store for itself")
    other = handle()
    await other.open()
    first, *_ = stored(await fill(other, 3, LIVE, ALL_LIVE))
    usage = store._opened.usage  # type: ignore[attr-defined]
    count_now = usage._count_now
    faster = other._opened.usage  # type: ignore[attr-defined]

    async def count_while_the_other_does(owner: str | None, *args: object) -> int:
        found: int = await count_now(owner, *args)
        await faster._recount(owner, [LIVE])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(usage, "_count_now", count_while_the_other_does)
        with pytest.raises(StoreUnavailable, match="try again"):
            await store.create(make_task(owner="alice"), caps=[ALL_LIVE])
    assert len(stored(await fill(store, 1, LIVE))) == 0  # from here on it has counts of its own
    await end(store, first)
    with monkeypatch.context() as patch:
        patch.setattr(usage, "_count_now", count_while_the_other_does)
        assert len(stored(await fill(store, 1, LIVE))) == 1
    await other.aclose()


async def test_what_a_dead_server_had_let_through_is_free_after_a_minute(
    store: TaskStore, kind: StoreKind, handle: Callable[[], TaskStore], clock: FakeClock
) -> None:
    """It was killed between letting a task through and storing it."""
    if not kind.shared:
        pytest.skip("an embedded store does both in one step")
    dying = handle()
    await dying.open()
    await dying._opened.usage.reserve("never-stored", "alice", [LIVE])  # type: ignore[attr-defined]
    await dying.aclose()
    assert len(stored(await fill(store, 9, LIVE))) == 2
    clock.advance(61)
    assert len(stored(await fill(store, 9, LIVE))) == 1
