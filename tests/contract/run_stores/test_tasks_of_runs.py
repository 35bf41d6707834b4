"""Tasks that are steps stay as long as the run goes on: without one, it would have it done once more."""

from datetime import timedelta

import pytest

from tesp_api.errors import TaskInUse, TaskNotFound
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import Run, RunStore, StepRecord
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tests.contract.run_stores.test_runs import take
from tests.contract.task_stores.conftest import Driver, FakeClock
from tests.factories import make_run, make_task


@pytest.fixture
def runner(tasks: TaskStore) -> Driver:
    return Driver(tasks)


async def ended_task(tasks: TaskStore, runner: Driver) -> str:
    """A task that has ended, and that nobody cleans up any more."""
    claim = await runner.take(make_task())
    await tasks.transition(claim.task_id, State.CANCELED, claim=claim, reason="over")
    await tasks.retire(claim)
    return claim.task_id


async def begin(runs: RunStore, run: Run, **steps: str) -> None:
    """Bring the run to RUNNING, with these tasks as its steps."""
    claim = await take(runs, run.id)
    await runs.transition(run.id, State.INITIALIZING, claim=claim)
    for key, task_id in steps.items():
        await runs.put_step(StepRecord(new_task_id(), run.id, key, key, task_id), claim=claim)
    await runs.transition(run.id, State.RUNNING, claim=claim)
    await runs.release("server")


async def finish(runs: RunStore, run: Run) -> None:
    await runs.transition(run.id, State.COMPLETE, claim=await take(runs, run.id))
    await runs.release("server")


async def test_a_step_is_not_deleted_before_its_run_has_ended(
    tasks: TaskStore, runs: RunStore, run: Run, runner: Driver
) -> None:
    step, other = await ended_task(tasks, runner), await ended_task(tasks, runner)
    await begin(runs, run, a=step)
    await tasks.delete(other)
    with pytest.raises(TaskInUse, match=f"{step} is a step of run {run.id}"):
        await tasks.delete(step)
    await finish(runs, run)
    await tasks.delete(step)
    with pytest.raises(TaskNotFound):
        await tasks.get_state(step)


async def test_steps_are_not_purged_before_their_run_has_ended(
    tasks: TaskStore, runs: RunStore, run: Run, runner: Driver, clock: FakeClock
) -> None:
    steps = [await ended_task(tasks, runner) for _ in range(3)]
    others = [await ended_task(tasks, runner) for _ in range(3)]
    await begin(runs, run, a=steps[0], b=steps[1])
    await runs.create(second := make_run())
    await begin(runs, second, c=steps[2])
    later = clock() + timedelta(hours=1)
    assert await tasks.purge(later, limit=2) == 2
    assert await tasks.purge(later, limit=2) == 1
    assert await tasks.purge(later, limit=2) == 0
    for task_id in others:
        with pytest.raises(TaskNotFound):
            await tasks.get_state(task_id)
    await finish(runs, run)
    assert await tasks.purge(later, limit=10) == 2
    assert await tasks.get_state(steps[2]) is State.CANCELED
    await finish(runs, second)
    assert await tasks.purge(later, limit=10) == 1
