"""Deletion and purging: only what is over goes, and everything of it."""

import asyncio
from datetime import timedelta

import pytest

from tesp_api.errors import TaskNotFound, TaskNotOver
from tesp_api.store.base import Changes, Claim, OnceKey, Task, TaskQuery, TaskStore
from tesp_api.tes.states import FINAL, TRANSITIONS, State
from tests.contract.task_stores.conftest import Driver, FakeClock
from tests.contract.task_stores.test_life import JOB, lead
from tests.factories import make_task

TAGS = {"project": "x", "žluť": "\ud800", "empty": ""}


async def take_whole(store: TaskStore, runner: Driver, state: State = State.COMPLETE) -> Claim:
    """The claim of a task in `state` that has everything a task can have."""
    made = make_task(name="whole", tags=TAGS, owner="alice", warnings=("careful",))
    await store.create(made, once=OnceKey(made.id, "digest"))
    claim = await runner.take_stored(made.id)
    await store.update(made.id, Changes(attempt=1, job=JOB, log={"n": 1}), claim=claim, reason="began")
    await store.append_log(claim, 1, 0, "stdout", 0, b"out")
    await store.append_log(claim, 1, 1, "stderr", 0, b"err")
    await store.append_log(claim, 1, 2, "events", 0, b"{}")
    await lead(store, claim, state)
    return claim


async def end(store: TaskStore, runner: Driver, *, retire: bool = True) -> str:
    """A new task that ends now."""
    claim = await runner.take(make_task(tags=TAGS))
    await store.transition(claim.task_id, State.CANCELED, claim=claim, reason="over")
    if retire:
        await store.retire(claim)
    return claim.task_id


async def assert_gone(store: TaskStore, task_id: str) -> None:
    for read in (store.get, store.get_state, store.delete):
        with pytest.raises(TaskNotFound):
            await read(task_id)
    assert await store.history(task_id) == []
    for executor, stream in enumerate(("stdout", "stderr", "events")):
        assert await store.log_size(task_id, 1, executor, stream) == 0  # type: ignore[arg-type]
    shapes = (
        TaskQuery(),
        TaskQuery(owner="alice"),
        TaskQuery(name_prefix="who"),
        TaskQuery(states=frozenset(State)),
        *(TaskQuery(tags=(tag,)) for tag in TAGS.items()),
        *(TaskQuery(tags=((key, ""),)) for key in TAGS),
    )
    for query in shapes:
        assert task_id not in [found for found, _ in (await store.list_states(query)).items]
        assert task_id not in [task.id for task in (await store.list_tasks(query)).items]


@pytest.mark.parametrize("state", sorted(FINAL))
async def test_a_deleted_task_leaves_nothing_behind(
    store: TaskStore, runner: Driver, task: Task, state: State
) -> None:
    claim = await take_whole(store, runner, state)
    await store.retire(claim)
    await store.delete(claim.task_id)
    await assert_gone(store, claim.task_id)
    assert await store.get(task.id)
    # The same id again is a new task: nothing of the old one shows through.
    again = make_task(id=claim.task_id)
    await store.create(again)
    assert await store.get(again.id) == again
    assert len(await store.history(again.id)) == 1


@pytest.mark.parametrize("state", sorted(set(TRANSITIONS) - FINAL))
async def test_what_has_not_ended_cannot_be_deleted(store: TaskStore, runner: Driver, state: State) -> None:
    claim = await take_whole(store, runner, state)
    before = await store.get(claim.task_id), await store.history(claim.task_id)
    with pytest.raises(TaskNotOver, match=f"{claim.task_id} is {state}"):
        await store.delete(claim.task_id)
    assert (await store.get(claim.task_id), await store.history(claim.task_id)) == before


async def test_what_is_still_cleaned_up_cannot_be_deleted(store: TaskStore, runner: Driver) -> None:
    claim = await take_whole(store, runner)
    with pytest.raises(TaskNotOver, match="cleaned up"):
        await store.delete(claim.task_id)
    await store.retire(claim)
    await store.delete(claim.task_id)


async def test_an_unknown_task_cannot_be_deleted(store: TaskStore) -> None:
    with pytest.raises(TaskNotFound, match="no-such"):
        await store.delete("no-such")


async def test_of_many_deletions_at_once_one_finds_the_task(store: TaskStore, runner: Driver) -> None:
    task_id = await end(store, runner)
    answers = await asyncio.gather(*(store.delete(task_id) for _ in range(5)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["NoneType"] + ["TaskNotFound"] * 4


async def test_a_purge_takes_the_oldest_ends_first(
    store: TaskStore, runner: Driver, clock: FakeClock
) -> None:
    # They end in another order than they were created in.
    claims = [await runner.take(make_task()) for _ in range(6)]
    order = [3, 0, 5, 1, 4, 2]
    for number in order:
        clock.advance(1)
        claim = claims[number]
        await store.transition(claim.task_id, State.CANCELED, claim=claim, reason="over")
        await store.retire(claim)
    for gone in (2, 4):
        assert await store.purge(clock.moment + timedelta(days=1), limit=2) == 2
        left = {task_id for task_id, _ in (await store.list_states(TaskQuery())).items}
        assert left == {claims[number].task_id for number in order[gone:]}


async def test_a_purge_leaves_nothing_behind(store: TaskStore, runner: Driver, clock: FakeClock) -> None:
    claim = await take_whole(store, runner)
    await store.retire(claim)
    clock.advance(1)
    assert await store.purge(clock.moment, limit=10) == 1
    await assert_gone(store, claim.task_id)


async def test_a_purge_goes_by_the_time_of_the_end(
    store: TaskStore, runner: Driver, clock: FakeClock
) -> None:
    ended_at = clock.moment
    claim = await take_whole(store, runner)
    clock.advance(60)
    await store.update(claim.task_id, Changes(), claim=claim, reason="cleaned up later")
    await store.retire(claim)
    assert await store.purge(ended_at, limit=10) == 0, "what ended at that moment did not end before it"
    assert await store.purge(ended_at + timedelta(microseconds=1), limit=10) == 1


async def test_a_purge_keeps_what_is_live(store: TaskStore, runner: Driver, clock: FakeClock) -> None:
    kept = [(await take_whole(store, runner, state)).task_id for state in TRANSITIONS]
    kept.append(await end(store, runner, retire=False))
    clock.advance(1)
    assert await store.purge(clock.moment, limit=100) == 0
    for task_id in kept:
        assert await store.get(task_id)


@pytest.mark.parametrize("limit", [0, 1, 3, 4])
async def test_a_purge_takes_no_more_than_its_limit(
    store: TaskStore, runner: Driver, clock: FakeClock, limit: int
) -> None:
    for _ in range(3):
        await end(store, runner)
    clock.advance(1)
    assert await store.purge(clock.moment, limit=limit) == min(limit, 3)
    assert len((await store.list_states(TaskQuery())).items) == 3 - min(limit, 3)


async def test_purges_at_the_same_time_share_the_work(
    store: TaskStore, runner: Driver, clock: FakeClock
) -> None:
    for _ in range(7):
        await end(store, runner)
    clock.advance(1)
    answers = await asyncio.gather(*(store.purge(clock.moment, limit=3) for _ in range(4)))
    assert sum(answers) == 7
    assert (await store.list_states(TaskQuery())).items == []
