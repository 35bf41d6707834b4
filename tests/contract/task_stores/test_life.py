"""A task's life in a store: creation, transitions, changes, cancellation, the end, and its history."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tesp_api.errors import ClaimLost, TaskNotFound, TaskNotOver, TransitionRefused
from tesp_api.store.base import Changes, Claim, HistoryEntry, Job, Standing, Task, TaskQuery, TaskStore
from tesp_api.tes.states import FINAL, TRANSITIONS, State
from tests.contract.task_stores.conftest import Driver, FakeClock
from tests.factories import make_request, make_task

S = State
JOB = Job("cluster", "job-1")


def path_to(state: State) -> list[State]:
    """The shortest way from QUEUED to `state`, without QUEUED."""
    paths: list[list[State]] = [[]]
    for path in paths:
        if (path or [S.QUEUED])[-1] == state:
            return path
        following = TRANSITIONS[(path or [S.QUEUED])[-1]]
        paths += [[*path, one] for one in sorted(following) if one not in path]
    raise AssertionError(f"no way to {state}")


async def lead(store: TaskStore, claim: Claim, state: State) -> None:
    """Take a QUEUED task to `state`."""
    for step in path_to(state):
        await store.transition(claim.task_id, step, claim=claim, reason=f"to {step}")


async def states(store: TaskStore, task_id: str) -> list[State]:
    return [entry.state for entry in await store.history(task_id)]


async def test_a_store_that_is_open_can_be_used(store: TaskStore) -> None:
    await store.check()
    await store.check()


async def test_a_new_task_is_read_as_it_was_written(store: TaskStore) -> None:
    created_at = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    made = make_task(
        owner="alice", created_at=created_at, tags={"a": "b"}, warnings=("one", "ž"), sealed="x" * 9
    )
    await store.create(made)
    assert await store.get(made.id) == made
    assert await store.history(made.id) == [HistoryEntry(created_at, S.QUEUED, 0, "created")]


@pytest.mark.parametrize("text", ["Žluťoučký 🐎 كلب", "a\x00b", "\ud800 alone", "'; DROP TABLE tasks; --"])
async def test_any_text_is_kept(store: TaskStore, runner: Driver, text: str) -> None:
    made = make_task(name=text, tags={text: text}, description=text)
    claim = await runner.take(made)
    await store.update(made.id, Changes(log={"system_logs": [text]}), claim=claim)
    stored = await store.get(made.id)
    assert stored.request == made.request
    assert list(stored.logs) == [{"system_logs": [text]}]


async def test_a_reason_may_be_any_text(store: TaskStore, task: Task) -> None:
    await store.request_cancel(task.id, "důvod 🐎 \udcff")
    assert "důvod 🐎" in (await store.history(task.id))[-1].reason


async def test_an_unknown_task_is_not_found(store: TaskStore) -> None:
    for call in (
        store.get("no-such"),
        store.get_state("no-such"),
        store.get_standing("no-such"),
        store.request_cancel("no-such", ""),
    ):
        with pytest.raises(TaskNotFound, match="no-such"):
            await call
    assert await store.history("no-such") == []


async def test_creating_again_leaves_the_task_untouched(store: TaskStore, task: Task) -> None:
    await store.request_cancel(task.id, "changed since")
    before = await store.get(task.id), await store.history(task.id)
    await store.create(task)
    await store.create(make_task(id=task.id, name="another", tags={"new": "tag"}))
    assert (await store.get(task.id), await store.history(task.id)) == before


async def test_the_same_task_created_at_once_is_created_once(store: TaskStore) -> None:
    made = make_task()
    await asyncio.gather(*(store.create(made) for _ in range(20)))
    assert await states(store, made.id) == [S.QUEUED]


@pytest.mark.parametrize("current", TRANSITIONS)
async def test_the_table_decides_every_transition(store: TaskStore, runner: Driver, current: State) -> None:
    claim = await runner.take(make_task())
    await lead(store, claim, current)
    before = await store.get(claim.task_id), await store.history(claim.task_id)
    for wanted in set(State) - TRANSITIONS[current]:
        with pytest.raises(TransitionRefused) as refused:
            changes = Changes(attempt=7, job=JOB, log={"trace": "x"})
            await store.transition(claim.task_id, wanted, claim=claim, reason="no", changes=changes)
        assert (refused.value.current, refused.value.wanted) == (current, wanted)
    assert (await store.get(claim.task_id), await store.history(claim.task_id)) == before

    for wanted in TRANSITIONS[current]:
        other = await runner.take(make_task())
        await lead(store, other, current)
        moved = await store.transition(other.task_id, wanted, claim=other, reason="yes")
        assert moved.state == wanted
        assert await store.get(other.task_id) == moved
        assert (await states(store, other.task_id))[-2:] == [current, wanted]


async def test_a_transition_returns_the_task_with_its_claim(
    store: TaskStore, runner: Driver, task: Task
) -> None:
    claim = await runner.take_stored(task.id)
    moved = await store.transition(task.id, S.INITIALIZING, claim=claim, reason="started")
    assert moved.claim == claim
    assert moved.live


async def test_changes_come_with_the_transition(store: TaskStore, runner: Driver, task: Task) -> None:
    claim = await runner.take_stored(task.id)
    changes = Changes(attempt=1, job=JOB, log={"start_time": "now"})
    moved = await store.transition(task.id, S.INITIALIZING, claim=claim, reason="r", changes=changes)
    assert (moved.attempt, moved.job, list(moved.logs)) == (1, JOB, [{"start_time": "now"}])
    assert (await store.history(task.id))[-1].attempt == 1


async def test_what_changes_leave_out_stays(store: TaskStore, runner: Driver, task: Task) -> None:
    claim = await runner.take_stored(task.id)
    before = await store.update(task.id, Changes(attempt=1, job=JOB, log={"a": 1}), claim=claim)
    assert await store.update(task.id, Changes(), claim=claim) == before
    assert await store.get(task.id) == before


async def test_a_log_is_replaced_within_its_attempt_and_added_by_the_next(
    store: TaskStore, runner: Driver, task: Task
) -> None:
    claim = await runner.take_stored(task.id)

    async def logs(changes: Changes) -> list[Any]:
        return list((await store.update(task.id, changes, claim=claim)).logs)

    assert await logs(Changes(attempt=1, job=JOB, log={"n": 1})) == [{"n": 1}]
    assert await logs(Changes(log={"n": 2})) == [{"n": 2}]
    assert await logs(Changes(attempt=2, job=Job("other", "job-2"))) == [{"n": 2}]
    assert await logs(Changes(log={"n": 3})) == [{"n": 2}, {"n": 3}]
    assert await logs(Changes(log={"n": 4})) == [{"n": 2}, {"n": 4}]
    stored = await store.get(task.id)
    assert (stored.attempt, stored.job) == (2, Job("other", "job-2"))


async def test_history_tells_everything_in_order(
    store: TaskStore, runner: Driver, clock: FakeClock, task: Task
) -> None:
    claim = await runner.take_stored(task.id)
    start = clock.moment
    clock.advance(1)
    await store.update(task.id, Changes(attempt=1, job=JOB), claim=claim, reason="pending at cluster")
    await store.update(task.id, Changes(log={}), claim=claim)
    clock.advance(1)
    await store.transition(task.id, S.INITIALIZING, claim=claim, reason="worker started")
    await store.transition(task.id, S.QUEUED, claim=claim, reason="lost", changes=Changes(attempt=2))
    clock.advance(1)
    await store.request_cancel(task.id, "asked by a client")
    await store.request_cancel(task.id, "asked again")
    await store.transition(task.id, S.CANCELED, claim=claim, reason="stopped")
    await store.request_cancel(task.id, "too late")
    await store.retire(claim)
    assert await store.history(task.id) == [
        HistoryEntry(task.created_at, S.QUEUED, 0, "created"),
        HistoryEntry(start + timedelta(seconds=1), S.QUEUED, 1, "pending at cluster"),
        HistoryEntry(start + timedelta(seconds=2), S.INITIALIZING, 1, "worker started"),
        HistoryEntry(start + timedelta(seconds=2), S.QUEUED, 2, "lost"),
        HistoryEntry(start + timedelta(seconds=3), S.CANCELING, 2, "asked by a client"),
        HistoryEntry(start + timedelta(seconds=3), S.CANCELED, 2, "stopped"),
    ]


@pytest.mark.parametrize("current", TRANSITIONS)
async def test_a_cancel_request_moves_what_can_still_be_canceled(
    store: TaskStore, runner: Driver, current: State
) -> None:
    claim = await runner.take(make_task())
    await lead(store, claim, current)
    before = await store.history(claim.task_id)
    answer = await store.request_cancel(claim.task_id, "why")
    after = await store.history(claim.task_id)
    stored = await store.get(claim.task_id)
    assert answer == stored.state
    assert stored.claim == claim, "the runner's claim stays valid"
    if current in FINAL | {S.CANCELING}:
        assert (answer, after) == (current, before)
    else:
        assert answer == S.CANCELING
        assert (after[-1].state, after[-1].reason) == (S.CANCELING, "why")
        await store.transition(claim.task_id, S.CANCELED, claim=claim, reason="stopped")


async def test_of_a_cancel_and_an_end_at_once_one_wins(store: TaskStore, runner: Driver) -> None:
    for turn in range(10):
        claim = await runner.take(make_task())
        await lead(store, claim, S.RUNNING)
        end = store.transition(claim.task_id, S.COMPLETE, claim=claim, reason="done")
        cancel = store.request_cancel(claim.task_id, "stop")
        first, second = (end, cancel) if turn % 2 else (cancel, end)
        answers = await asyncio.gather(first, second, return_exceptions=True)
        ended, canceled = answers if turn % 2 else reversed(answers)
        past = await states(store, claim.task_id)
        if isinstance(ended, Task):
            assert (canceled, past[-1]) == (S.COMPLETE, S.COMPLETE)
        else:
            assert isinstance(ended, TransitionRefused)
            assert (canceled, past[-1]) == (S.CANCELING, S.CANCELING)
        assert len(past) == 4


async def test_of_many_same_transitions_at_once_one_wins(store: TaskStore, runner: Driver) -> None:
    claim = await runner.take(make_task())
    tries = (
        store.transition(claim.task_id, S.INITIALIZING, claim=claim, reason=str(turn)) for turn in range(10)
    )
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Task"] + ["TransitionRefused"] * 9
    assert await states(store, claim.task_id) == [S.QUEUED, S.INITIALIZING]


async def test_what_is_sealed_stays_until_the_task_is_retired(store: TaskStore, runner: Driver) -> None:
    made = make_task(sealed="sealed logins")
    claim = await runner.take(made)
    await lead(store, claim, S.RUNNING)
    (listed,) = (await store.list_tasks(TaskQuery())).items
    moved = await store.transition(made.id, S.COMPLETE, claim=claim, reason="done")
    assert {listed.sealed, moved.sealed, (await store.get(made.id)).sealed} == {"sealed logins"}
    await store.retire(claim)
    assert (await store.get(made.id)).sealed == ""
    await store.delete(made.id)


async def test_a_retired_task_is_left_in_peace(store: TaskStore, runner: Driver, task: Task) -> None:
    claim = await runner.take_stored(task.id)
    await store.update(task.id, Changes(attempt=1, job=JOB, log={"kept": 1}), claim=claim)
    await lead(store, claim, S.COMPLETE)
    before = await store.history(task.id)
    await store.retire(claim)
    retired = await store.get(task.id)
    assert (retired.live, retired.job, retired.claim) == (False, None, None)
    assert (retired.state, retired.attempt, list(retired.logs)) == (S.COMPLETE, 1, [{"kept": 1}])
    assert await store.history(task.id) == before
    assert await runner.claim() == []
    assert await store.renew(runner.owner, lease_s=60) == {}
    with pytest.raises(ClaimLost):
        await store.retire(claim)


@pytest.mark.parametrize("current", sorted(set(TRANSITIONS) - FINAL))
async def test_a_task_that_has_not_ended_does_not_retire(
    store: TaskStore, runner: Driver, current: State
) -> None:
    claim = await runner.take(make_task())
    await lead(store, claim, current)
    before = await store.get(claim.task_id), await store.history(claim.task_id)
    with pytest.raises(TaskNotOver, match=current):
        await store.retire(claim)
    assert (await store.get(claim.task_id), await store.history(claim.task_id)) == before


@pytest.mark.parametrize("current", TRANSITIONS)
async def test_the_state_can_be_read_alone(store: TaskStore, runner: Driver, current: State) -> None:
    claim = await runner.take(make_task())
    await lead(store, claim, current)
    assert await store.get_state(claim.task_id) is current


async def test_where_a_task_stands_can_be_read_alone(store: TaskStore, runner: Driver) -> None:
    claim = await runner.take(make_task())
    assert await store.get_standing(claim.task_id) == Standing(State.QUEUED, 0, None)
    job = Job("somewhere", "job-2")
    await store.transition(
        claim.task_id, State.INITIALIZING, claim=claim, reason="test", changes=Changes(attempt=2, job=job)
    )
    assert await store.get_standing(claim.task_id) == Standing(State.INITIALIZING, 2, job)


async def test_what_a_caller_does_to_its_documents_later_does_not_reach_the_store(store: TaskStore) -> None:
    request = make_request(tags={"a": "b"})
    made = make_task(request=request)
    await store.create(made)
    request["tags"]["a"] = "changed"
    assert (await store.get(made.id)).request["tags"] == {"a": "b"}


async def test_a_history_comes_with_the_time_of_the_clock_that_dates_it(
    store: TaskStore, clock: FakeClock
) -> None:
    task = make_task()
    await store.create(task)
    clock.advance(90)
    history, at = await store.dated_history(task.id)
    assert history == await store.history(task.id)
    assert at == clock()
    assert (await store.dated_history("no-such"))[0] == []
