"""Who drives a task: claims, leases, and what an old claim is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tesp_api.errors import ClaimLost
from tesp_api.store.base import Changes, Claim, Job, Task, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver, FakeClock, StoreKind
from tests.factories import make_task

S = State


@pytest.fixture
def other(store: TaskStore) -> Driver:
    return Driver(store, "other")


async def make_tasks(store: TaskStore, count: int) -> list[str]:
    made = [make_task() for _ in range(count)]
    await asyncio.gather(*(store.create(task) for task in made))
    return [task.id for task in made]


def ids(tasks: list[Task]) -> list[str]:
    return [task.id for task in tasks]


async def test_a_claim_names_its_owner_and_its_end(runner: Driver, clock: FakeClock, task: Task) -> None:
    (claimed,) = await runner.claim(lease_s=1.5)
    assert claimed.claim == Claim(task.id, "runner", 1, clock.moment + timedelta(seconds=1.5))
    assert claimed == replace(task, claim=claimed.claim)
    assert await runner.store.get(task.id) == claimed


async def test_new_tasks_are_claimed_oldest_first_up_to_the_limit(store: TaskStore, runner: Driver) -> None:
    made = await make_tasks(store, 5)
    assert ids(await runner.claim(new_limit=0)) == []
    assert ids(await runner.claim(new_limit=2)) == made[:2]
    assert ids(await runner.claim(new_limit=2)) == made[2:4]
    assert ids(await runner.claim(new_limit=2)) == made[4:]
    assert ids(await runner.claim(new_limit=2)) == []


async def test_tasks_that_have_begun_are_claimed_beside_the_limit(
    store: TaskStore, runner: Driver, other: Driver
) -> None:
    fresh, queued_with_job, canceling, running, ended = made = await make_tasks(store, 5)
    claims = {claim.task_id: claim for task in await runner.claim() if (claim := task.claim)}
    job = Changes(attempt=1, job=Job("cluster", "job"))
    await store.update(queued_with_job, job, claim=claims[queued_with_job])
    await store.request_cancel(canceling, "stop")
    for step in (S.INITIALIZING, S.RUNNING):
        await store.transition(running, step, claim=claims[running], reason="", changes=job)
    await store.transition(ended, S.SYSTEM_ERROR, claim=claims[ended], reason="no destination fits")
    await store.release(runner.owner)

    assert ids(await other.claim(new_limit=0)) == [queued_with_job, canceling, running, ended]
    assert ids(await other.claim(new_limit=1)) == [fresh]
    assert await other.claim() == []
    assert len(made) == 5


@pytest.mark.parametrize("begun", [False, True])
async def test_a_lease_has_expired_when_its_end_is_reached(
    store: TaskStore, runner: Driver, other: Driver, clock: FakeClock, task: Task, begun: bool
) -> None:
    (first,) = await runner.claim(lease_s=10)
    assert first.claim
    if begun:
        await store.update(task.id, Changes(job=Job("cluster", "job")), claim=first.claim)
    clock.moment = first.claim.expires_at - timedelta(microseconds=1)
    assert await other.claim() == []
    clock.moment = first.claim.expires_at
    (second,) = await other.claim(new_limit=0 if begun else 1)
    assert second.claim == Claim(task.id, "other", 2, clock.moment + timedelta(seconds=60))


async def test_expired_and_new_tasks_share_the_limit_oldest_first(
    store: TaskStore, runner: Driver, other: Driver, clock: FakeClock
) -> None:
    made = await make_tasks(store, 4)
    await runner.claim(lease_s=10, new_limit=2)
    clock.advance(10)
    assert ids(await other.claim(new_limit=3)) == made[:3]


async def test_an_owner_does_not_claim_again_what_it_holds(runner: Driver, task: Task) -> None:
    assert ids(await runner.claim()) == [task.id]
    assert await runner.claim() == []


async def test_renewing_moves_the_end_and_tells_the_states(
    store: TaskStore, runner: Driver, other: Driver, clock: FakeClock
) -> None:
    canceled, queued = await make_tasks(store, 2)
    await runner.claim(lease_s=10)
    await store.request_cancel(canceled, "stop")
    clock.advance(9)
    assert await store.renew("runner", lease_s=10) == {canceled: S.CANCELING, queued: S.QUEUED}
    clock.advance(9)
    assert await other.claim() == []
    renewed = (await store.get(queued)).claim
    assert renewed == Claim(queued, "runner", 1, clock.moment + timedelta(seconds=1))
    assert await store.renew("other", lease_s=10) == {}


async def test_an_owner_is_told_which_of_its_tasks_are_being_canceled(
    store: TaskStore, runner: Driver, other: Driver, clock: FakeClock
) -> None:
    mine, _, early = await make_tasks(store, 3)
    await store.request_cancel(early, "nobody has it yet")
    assert await store.list_canceling("runner") == frozenset()
    assert len(await runner.claim(lease_s=10)) == 3
    (others,) = await make_tasks(store, 1)
    await other.claim()
    for task_id in (mine, others):
        await store.request_cancel(task_id, "stop")
    clock.advance(11)
    assert await store.list_canceling("runner") == {mine, early}
    assert await store.list_canceling("other") == {others}
    claim = (await store.get(mine)).claim
    assert claim
    await store.transition(mine, S.CANCELED, claim=claim, reason="it has ended")
    assert await store.list_canceling("runner") == {early}
    await store.release("runner")
    assert await store.list_canceling("runner") == frozenset()


async def test_an_expired_claim_that_nobody_took_is_still_the_owners(
    store: TaskStore, runner: Driver, other: Driver, clock: FakeClock, task: Task
) -> None:
    (claimed,) = await runner.claim(lease_s=10)
    assert claimed.claim
    clock.advance(1000)
    await store.transition(task.id, S.INITIALIZING, claim=claimed.claim, reason="late but alone")
    assert await store.renew("runner", lease_s=10) == {task.id: S.INITIALIZING}
    assert await other.claim() == []


async def test_what_was_taken_over_is_not_renewed(
    store: TaskStore, runner: Driver, other: Driver, clock: FakeClock, task: Task
) -> None:
    await runner.claim(lease_s=10)
    clock.advance(10)
    assert ids(await other.claim()) == [task.id]
    assert await store.renew("runner", lease_s=10) == {}


async def test_released_tasks_are_free_at_once(
    store: TaskStore, runner: Driver, other: Driver, task: Task
) -> None:
    await runner.claim()
    await store.release("other")
    assert await other.claim() == []
    await store.release("runner")
    assert (await store.get(task.id)).claim is None
    assert ids(await other.claim()) == [task.id]
    assert await store.renew("runner", lease_s=10) == {}


Act = Callable[[TaskStore, Claim], Awaitable[object]]
ACTS: dict[str, Act] = {
    "transition": lambda store, claim: store.transition(
        claim.task_id, S.INITIALIZING, claim=claim, reason="no", changes=Changes(attempt=9)
    ),
    "update": lambda store, claim: store.update(claim.task_id, Changes(attempt=9), claim=claim, reason="no"),
    "append_log": lambda store, claim: store.append_log(claim, 0, 0, "stdout", 0, b"no"),
    "drop_log": lambda store, claim: store.drop_log(claim, 1, 0, "stdout", 0, 9),
    "retire": lambda store, claim: store.retire(claim),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_lost_claim_is_refused_and_leaves_no_trace(
    store: TaskStore, runner: Driver, other: Driver, clock: FakeClock, task: Task, act: Act
) -> None:
    old = await runner.take_stored(task.id)
    clock.advance(60)
    await store.append_log(old, 1, 0, "stdout", 0, b"kept")
    new = await other.take_stored(task.id)
    before = await store.get(task.id), await store.history(task.id)
    forged = (
        old,
        replace(old, epoch=new.epoch),
        replace(new, epoch=old.epoch),
        replace(new, epoch=new.epoch + 1),
        replace(new, task_id="no-such"),
    )
    for claim in forged:
        with pytest.raises(ClaimLost):
            await act(store, claim)
    assert (await store.get(task.id), await store.history(task.id)) == before
    assert await store.log_size(task.id, 0, 0, "stdout") == 0
    assert (await store.read_log(task.id, 1, 0, "stdout", offset=0, limit=9)).data == b"kept"
    if act is ACTS["retire"]:
        await store.transition(task.id, S.CANCELED, claim=new, reason="only what has ended retires")
    await act(store, new)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_released_claim_is_lost(store: TaskStore, runner: Driver, task: Task, act: Act) -> None:
    claim = await runner.take_stored(task.id)
    await store.release("runner")
    with pytest.raises(ClaimLost):
        await act(store, claim)


async def test_an_owner_that_claims_again_has_lost_its_older_claim(
    store: TaskStore, runner: Driver, clock: FakeClock, task: Task
) -> None:
    old = await runner.take_stored(task.id)
    clock.advance(60)
    new = await runner.take_stored(task.id)
    assert new.epoch > old.epoch
    with pytest.raises(ClaimLost):
        await store.update(task.id, Changes(), claim=old)
    await store.update(task.id, Changes(), claim=new)


async def test_the_claim_of_one_task_is_none_for_another(store: TaskStore, runner: Driver) -> None:
    first, second = await make_tasks(store, 2)
    claims = {task.id: task.claim for task in await runner.claim()}
    claim = claims[second]
    assert claim
    with pytest.raises(ClaimLost):
        await store.transition(first, S.INITIALIZING, claim=claim, reason="mixed up")
    with pytest.raises(ClaimLost):
        await store.update(first, Changes(), claim=claim)


async def test_no_task_is_claimed_twice(store: TaskStore, runner: Driver, other: Driver) -> None:
    made = await make_tasks(store, 30)
    turns = [driver.claim(new_limit=3) for _ in range(8) for driver in (runner, other)]
    claimed = [task_id for tasks in await asyncio.gather(*turns) for task_id in ids(tasks)]
    assert sorted(claimed) == made


async def test_a_server_that_starts_again_voids_only_what_cannot_be_anothers(
    store: TaskStore, runner: Driver, kind: StoreKind, handle: Callable[[], TaskStore], task: Task
) -> None:
    """The claims in an embedded store are those of a dead process; in a shared one their owner may live."""
    claim = await runner.take_stored(task.id)
    if not kind.shared:
        await store.aclose()
    again = handle()
    await again.open()
    try:
        if kind.shared:
            assert (await again.get(task.id)).claim == claim
            assert await Driver(again, "other").claim() == []
            await store.update(task.id, Changes(attempt=1), claim=claim)
        else:
            assert (await again.get(task.id)).claim is None
            with pytest.raises(ClaimLost):
                await again.update(task.id, Changes(attempt=1), claim=claim)
            assert ids(await Driver(again, "other").claim()) == [task.id]
    finally:
        await again.aclose()
