"""Permits: one worker of an attempt begins, it alone sends outputs, and none does of what was given up."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tesp_api.errors import AttemptBegun, PermitRefused, TaskNotFound
from tesp_api.store.base import Changes, Claim, Job, Permit, PermitStep, Revocation, Task, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver, StoreKind
from tests.factories import make_task

S = State


class Stage:
    """A task whose first attempt has a job."""

    def __init__(self, store: TaskStore, claim: Claim) -> None:
        self.store, self.claim, self.task_id = store, claim, claim.task_id

    async def ask(self, worker: str, step: PermitStep = "start", attempt: int = 1) -> None:
        await self.store.permit(self.task_id, attempt, worker, step)

    async def refusal(self, worker: str, step: PermitStep = "start", attempt: int = 1) -> str:
        before = await self.store.get(self.task_id)
        with pytest.raises(PermitRefused) as refused:
            await self.ask(worker, step, attempt)
        assert await self.store.get(self.task_id) == before
        return str(refused.value)

    async def permit(self) -> Permit | None:
        return (await self.store.get(self.task_id)).permit

    async def revoke(self, revocation: Revocation) -> None:
        await self.store.update(self.task_id, Changes(revokes=revocation), claim=self.claim)

    async def move(self, *states: State) -> None:
        for state in states:
            await self.store.transition(self.task_id, state, claim=self.claim, reason="test")


@pytest.fixture
async def stage(store: TaskStore, runner: Driver) -> Stage:
    claim = await runner.take(make_task())
    job = Job("cluster", "job-1", "server", asks=True)
    task = await store.update(claim.task_id, Changes(attempt=1, job=job), claim=claim)
    assert (task.job, task.permit) == (job, None)
    return Stage(store, claim)


async def test_the_start_is_for_one_worker_who_may_ask_again(stage: Stage) -> None:
    await stage.ask("one")
    await stage.ask("one")
    assert await stage.permit() == Permit("one", "start")
    assert "another worker has begun attempt 1" in await stage.refusal("two")
    assert "another worker" in await stage.refusal("two", "commit")


async def test_of_many_workers_at_once_one_begins(stage: Stage) -> None:
    asked = await asyncio.gather(
        *(stage.ask(f"worker-{number}") for number in range(20)), return_exceptions=True
    )
    assert [type(outcome) for outcome in asked].count(PermitRefused) == 19
    (winner,) = (number for number, outcome in enumerate(asked) if outcome is None)
    assert await stage.permit() == Permit(f"worker-{winner}", "start")


async def test_outputs_are_for_who_has_begun(stage: Stage) -> None:
    assert "never permitted to begin" in await stage.refusal("one", "commit")
    await stage.ask("one")
    await stage.ask("one", "commit")
    await stage.ask("one", "commit")
    await stage.ask("one")  # a late repetition takes nothing back
    assert await stage.permit() == Permit("one", "commit")
    assert "another worker" in await stage.refusal("two", "commit")


@pytest.mark.parametrize("states", [(S.INITIALIZING,), (S.INITIALIZING, S.RUNNING)])
async def test_the_runner_may_know_of_it_before_or_after(stage: Stage, states: tuple[State, ...]) -> None:
    await stage.move(*states)
    await stage.ask("one")
    await stage.ask("one", "commit")


async def test_a_task_that_is_over_permits_nothing(stage: Stage) -> None:
    await stage.ask("one")
    await stage.store.request_cancel(stage.task_id, "stop")
    for step in ("start", "commit"):
        with pytest.raises(PermitRefused, match="being canceled") as refused:
            await stage.ask("one", step)
        assert refused.value.is_canceled
    await stage.move(S.CANCELED)
    assert "has ended CANCELED" in await stage.refusal("one", "commit")
    await stage.store.retire(stage.claim)
    assert await stage.permit() is None
    assert "has ended CANCELED" in await stage.refusal("one")
    await stage.store.delete(stage.task_id)
    with pytest.raises(TaskNotFound):
        await stage.ask("one")


async def test_other_attempts_have_their_own(stage: Stage) -> None:
    await stage.ask("one")
    assert "at attempt 1, not 2" in await stage.refusal("one", attempt=2)
    changes = Changes(attempt=2, job=Job("cluster", "job-2"))
    task = await stage.store.update(stage.task_id, changes, claim=stage.claim)
    assert task.permit is None
    for step in ("start", "commit"):
        assert "at attempt 2, not 1" in await stage.refusal("one", step)
    await stage.ask("two", attempt=2)
    assert "another worker" in await stage.refusal("one", attempt=2)


async def test_what_was_given_up_permits_nothing(stage: Stage) -> None:
    await stage.revoke(Revocation(unless_begun=True))
    assert await stage.permit() == Permit("", "revoked")
    assert "was given up" in await stage.refusal("one")
    await stage.revoke(Revocation(unless_begun=True))  # a driver may not know that it has done so
    task = await stage.store.update(stage.task_id, Changes(attempt=2), claim=stage.claim)
    assert task.permit is None
    await stage.ask("two", attempt=2)


async def test_who_has_begun_is_refused_once_it_is_given_up_all_the_same(stage: Stage) -> None:
    await stage.ask("one")
    await stage.revoke(Revocation())
    assert await stage.permit() == Permit("one", "revoked")
    assert "was given up" in await stage.refusal("one", "commit")
    assert "was given up" in await stage.refusal("one")


Act = Callable[[Stage, Changes], Awaitable[Task]]
ACTS: dict[str, Act] = {
    "update": lambda stage, changes: stage.store.update(
        stage.task_id, changes, claim=stage.claim, reason="given up"
    ),
    "transition": lambda stage, changes: stage.store.transition(
        stage.task_id, S.QUEUED, claim=stage.claim, reason="given up", changes=changes
    ),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_what_has_begun_is_not_given_up_as_if_it_had_not(stage: Stage, act: Act) -> None:
    await stage.move(S.INITIALIZING)
    await stage.ask("one")
    before = await stage.store.get(stage.task_id), await stage.store.history(stage.task_id)
    for revocation in (Revocation(unless_begun=True), Revocation(unless_begun=True, worker="two")):
        with pytest.raises(AttemptBegun):
            await act(stage, Changes(log={"n": 1}, revokes=revocation))
    assert before == (await stage.store.get(stage.task_id), await stage.store.history(stage.task_id))
    await stage.ask("one", "commit")
    proven = Revocation(unless_begun=True, worker="one")  # by what that very worker has said
    task = await act(stage, Changes(log={"n": 1}, revokes=proven))
    assert (task.permit, list(task.logs)) == (Permit("one", "revoked"), [{"n": 1}])


async def test_a_start_and_a_giving_up_at_once_are_told_apart(store: TaskStore, runner: Driver) -> None:
    """Whichever is first: never both."""
    outcomes = set()
    for _ in range(12):
        claim = await runner.take(make_task())
        await store.update(claim.task_id, Changes(attempt=1, job=Job("cluster", "job")), claim=claim)
        stage = Stage(store, claim)
        asked, given_up = await asyncio.gather(
            stage.ask("one"), stage.revoke(Revocation(unless_begun=True)), return_exceptions=True
        )
        assert (asked is None) != (given_up is None), (asked, given_up)
        outcomes.add(asked is None)
    assert outcomes


async def test_a_server_that_starts_again_knows_what_was_granted(
    stage: Stage, kind: StoreKind, handle: Callable[[], TaskStore]
) -> None:
    await stage.ask("one")
    if not kind.shared:
        await stage.store.aclose()
    again = handle()
    await again.open()
    try:
        assert (await again.get(stage.task_id)).permit == Permit("one", "start")
        with pytest.raises(PermitRefused):
            await again.permit(stage.task_id, 1, "two", "start")
    finally:
        await again.aclose()
