"""What is told of changes: announced with each change, claimed by one at a time, kept until it is settled."""

from collections.abc import AsyncIterator, Callable

import pytest

from tesp_api.errors import TransitionRefused
from tesp_api.store.base import Changes, Claim, Job, OnceKey, TaskStore
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_outbox import MongoOutbox
from tesp_api.store.outbox import Bounds, Hook, Notice, Outbox, Outcome, Watch
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.store.sqlite_outbox import SqliteOutbox
from tesp_api.tes.states import FINAL, State
from tests.contract.task_stores.conftest import Driver, FakeClock, StoreKind
from tests.factories import make_task

S = State
EVERY = frozenset(State)
ABOUT = '{"name": "\\ud800", "$set": 1}'
WIDE = Bounds(give_up_s=1e6, waiting_max=1000, kept_s=1e6)
DONE = Outcome("delivered", "200")


def outbox_of(store: TaskStore) -> Outbox:
    if isinstance(store, SqliteTaskStore):
        return SqliteOutbox(store)
    assert isinstance(store, MongoTaskStore)
    return MongoOutbox(store)


@pytest.fixture
def outbox(store: TaskStore) -> Outbox:
    return outbox_of(store)


@pytest.fixture
async def rings(store: TaskStore) -> AsyncIterator[list[str]]:
    """Whom the bell of the outbox names."""
    heard: list[str] = []
    stop = store.notices.listen(heard.append)
    yield heard
    stop()


def watch(*names: str, states: frozenset[State] = EVERY) -> Watch:
    return Watch(tuple(Hook(name, states) for name in names), ABOUT)


def told(notices: list[Notice]) -> list[tuple[str, State, State | None, int]]:
    return [(one.event_id.rpartition(".")[2], one.state, one.previous, one.attempt) for one in notices]


async def claim(outbox: Outbox, receiver: str, *, limit: int) -> list[Notice]:
    """As whoever delivers does it: for those of whom it is known that something waits for them."""
    await outbox.receivers()
    return await outbox.claim(receiver, limit=limit, lease_s=60)


async def drain(outbox: Outbox, receiver: str) -> list[Notice]:
    """All that can be claimed one after the other, delivered at once."""
    found: list[Notice] = []
    while some := await claim(outbox, receiver, limit=10):
        found += some
        for one in some:
            await outbox.settle(one, DONE)
    return found


async def start(store: TaskStore, runner: Driver, task_id: str) -> Claim:
    held = await runner.take_stored(task_id)
    job = Changes(attempt=1, job=Job("here", "j1"))
    await store.transition(task_id, S.INITIALIZING, claim=held, reason="so", changes=job)
    return held


async def test_every_change_is_announced_with_what_it_was(
    store: TaskStore, outbox: Outbox, runner: Driver, clock: FakeClock, rings: list[str]
) -> None:
    task = make_task(created_at=clock())
    await store.create(task, watch=watch("lab"))
    held = await start(store, runner, task.id)
    clock.advance(5)
    moved = await store.transition(task.id, S.QUEUED, claim=held, reason="again")
    assert moved.watched and (await store.get(task.id)).watched
    await store.request_cancel(task.id, "enough")
    assert await outbox.receivers() == ["lab"]
    notices = await drain(outbox, "lab")
    assert told(notices) == [
        ("1", S.QUEUED, None, 0),
        ("2", S.INITIALIZING, S.QUEUED, 1),
        ("3", S.QUEUED, S.INITIALIZING, 1),
        ("4", S.CANCELING, S.QUEUED, 1),
    ]
    first, last = notices[0], notices[-1]
    assert (first.kind, first.subject, first.about, first.at) == ("task", task.id, ABOUT, task.created_at)
    assert (last.number, last.at) == (4, clock())
    assert set(rings) == {task.id} and len(rings) == 4


async def test_what_nobody_asked_for_is_not_announced(
    store: TaskStore, outbox: Outbox, runner: Driver, rings: list[str]
) -> None:
    task = make_task()
    await store.create(task)
    await start(store, runner, task.id)
    assert not (await store.get(task.id)).watched
    assert (await outbox.receivers(), await outbox.deliveries(task.id), rings) == ([], [], [])


async def test_each_receiver_is_told_of_its_states_alone(
    store: TaskStore, outbox: Outbox, runner: Driver
) -> None:
    task = make_task()
    hooks = (Hook("ends", FINAL), Hook("all ü", EVERY), Hook("queue", frozenset({S.QUEUED})))
    await store.create(task, watch=Watch(hooks, ABOUT))
    held = await start(store, runner, task.id)
    await store.transition(task.id, S.SYSTEM_ERROR, claim=held, reason="broken")
    assert sorted(await outbox.receivers()) == ["all ü", "ends", "queue"]
    assert await outbox.waiting() == {"all ü": 3, "ends": 1, "queue": 1}
    (ends,) = await drain(outbox, "ends")
    (_, _, same) = await drain(outbox, "all ü")
    assert (ends.event_id, ends.state, ends.previous) == (same.event_id, S.SYSTEM_ERROR, S.INITIALIZING)
    assert await outbox.receivers() == ["queue"]


async def test_a_change_that_is_refused_is_not_announced(
    store: TaskStore, outbox: Outbox, runner: Driver
) -> None:
    task = make_task()
    await store.create(task, watch=watch("lab"))
    held = await runner.take_stored(task.id)
    with pytest.raises(TransitionRefused):
        await store.transition(task.id, S.COMPLETE, claim=held, reason="so")
    assert told(await drain(outbox, "lab")) == [("1", S.QUEUED, None, 0)]


async def test_a_repeated_creation_is_announced_once(store: TaskStore, outbox: Outbox) -> None:
    task, once = make_task(), OnceKey("k", "d")
    await store.create(task, once=once, watch=watch("lab"))
    await store.create(task, once=once, watch=watch("lab"))
    await store.create(make_task(), once=once, watch=watch("lab"))
    assert len(await drain(outbox, "lab")) == 1


async def test_the_oldest_about_a_subject_goes_first_and_alone(
    store: TaskStore, outbox: Outbox, runner: Driver
) -> None:
    one, other = make_task(), make_task()
    for task in (one, other):
        await store.create(task, watch=watch("lab", "second"))
    await start(store, runner, one.id)
    claimed = await claim(outbox, "lab", limit=10)
    assert [(notice.subject, notice.number) for notice in claimed] == [(one.id, 1), (other.id, 1)]
    assert await claim(outbox, "lab", limit=10) == []
    assert len(await claim(outbox, "second", limit=1)) == 1  # which does not wait for the first
    await outbox.settle(claimed[0], DONE)
    (following,) = await claim(outbox, "lab", limit=10)
    assert (following.subject, following.number) == (one.id, 2)


async def test_a_try_that_failed_is_followed_by_another_after_a_while(
    store: TaskStore, outbox: Outbox, clock: FakeClock
) -> None:
    task = make_task(created_at=clock())
    await store.create(task, watch=watch("lab"))
    (first,) = await claim(outbox, "lab", limit=1)
    await outbox.settle(first, Outcome("waiting", "status 500 $x", after_s=30))
    clock.advance(29.9)
    assert await claim(outbox, "lab", limit=1) == []
    clock.advance(0.2)
    (second,) = await claim(outbox, "lab", limit=1)
    assert (second.event_id, first.tries, second.tries) == (first.event_id, 1, 2)
    (seen,) = await outbox.deliveries(task.id)
    assert (seen.fate, seen.tries, seen.said, seen.done_at) == ("waiting", 2, "status 500 $x", None)
    await outbox.settle(second, Outcome("delivered", "status 204"))
    (seen,) = await outbox.deliveries(task.id)
    assert (seen.fate, seen.tries, seen.said, seen.done_at) == ("delivered", 2, "status 204", clock())
    assert (seen.receiver, seen.state, seen.event_id) == ("lab", S.QUEUED, first.event_id)


async def test_a_claim_that_is_over_is_anothers(store: TaskStore, outbox: Outbox, clock: FakeClock) -> None:
    task = make_task()
    await store.create(task, watch=watch("lab"))
    (lost,) = await claim(outbox, "lab", limit=1)
    clock.advance(61)
    (present,) = await claim(outbox, "lab", limit=1)
    await outbox.settle(lost, Outcome("waiting", "late"))
    assert await claim(outbox, "lab", limit=1) == []
    await outbox.settle(lost, Outcome("given_up", "late"))
    await outbox.settle(present, DONE)
    await outbox.settle(lost, Outcome("given_up", "late"))
    assert [one.fate for one in await outbox.deliveries(task.id)] == ["delivered"]


async def test_what_was_written_is_there_after_a_restart(
    handle: Callable[[], TaskStore], store: TaskStore, outbox: Outbox, kind: StoreKind, clock: FakeClock
) -> None:
    task = make_task()
    await store.create(task, watch=watch("lab"))
    (tried,) = await claim(outbox, "lab", limit=1)
    await store.aclose()
    second = handle()
    await second.open()
    if kind.shared:  # the first server may be alive
        clock.advance(61)
    (again,) = await claim(outbox_of(second), "lab", limit=1)
    assert (again.event_id, again.tries) == (tried.event_id, 2)
    await second.aclose()


async def test_of_several_servers_one_delivers(
    handle: Callable[[], TaskStore], store: TaskStore, outbox: Outbox, kind: StoreKind
) -> None:
    if not kind.shared:
        pytest.skip("one server at a time")
    other = handle()
    await other.open()
    for _ in range(10):
        await store.create(make_task(), watch=watch("lab"))
    assert await outbox.receivers() == await outbox_of(other).receivers() == ["lab"]
    mine = await claim(outbox, "lab", limit=6)
    theirs = await claim(outbox_of(other), "lab", limit=10)
    assert (len(mine), len(theirs)) == (6, 4)
    assert not {one.key for one in mine} & {one.key for one in theirs}
    await other.aclose()


async def test_what_waits_too_long_is_given_up(
    store: TaskStore, outbox: Outbox, runner: Driver, clock: FakeClock
) -> None:
    task = make_task(created_at=clock())
    await store.create(task, watch=watch("lab"))
    clock.advance(90)
    await start(store, runner, task.id)
    clock.advance(11)
    assert await outbox.sweep(Bounds(give_up_s=100, waiting_max=9, kept_s=50)) == 1
    assert [one.fate for one in await outbox.deliveries(task.id)] == ["given_up", "waiting"]
    (left,) = await claim(outbox, "lab", limit=9)
    assert left.state is S.INITIALIZING
    clock.advance(51)
    await outbox.sweep(Bounds(give_up_s=100, waiting_max=9, kept_s=50))
    assert [one.state for one in await outbox.deliveries(task.id)] == [S.INITIALIZING]


async def test_what_waits_is_not_more_than_may_be(store: TaskStore, outbox: Outbox, clock: FakeClock) -> None:
    tasks = []
    for _ in range(5):
        tasks.append(make_task(created_at=clock()))
        clock.advance(1)
        await store.create(tasks[-1], watch=watch("lab", "other"))
    await drain(outbox, "other")
    assert await outbox.waiting() == {"lab": 5}
    assert await outbox.sweep(Bounds(give_up_s=1e6, waiting_max=2, kept_s=1e6)) == 3
    left = await claim(outbox, "lab", limit=9)
    assert [one.subject for one in left] == [task.id for task in tasks[3:]]


async def test_what_waits_outlives_its_task(store: TaskStore, outbox: Outbox, runner: Driver) -> None:
    task = make_task()
    await store.create(task, watch=watch("lab"))
    held = await start(store, runner, task.id)
    await store.transition(task.id, S.SYSTEM_ERROR, claim=held, reason="broken")
    await store.retire(held)
    await store.delete(task.id)
    assert [one.state for one in await drain(outbox, "lab")] == [S.QUEUED, S.INITIALIZING, S.SYSTEM_ERROR]
    assert await outbox.sweep(WIDE) == 0
