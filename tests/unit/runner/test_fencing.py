"""A process that stood still, or lost its task to another one, does nothing to the task's job."""

import contextlib
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tesp_api.errors import ClaimLost
from tesp_api.pulsar.base import JobState
from tesp_api.runner import strays
from tesp_api.runner.attempt_log import Ending
from tesp_api.runner.fencing import Fence, check_claim
from tesp_api.runner.retries import another, judged
from tesp_api.settings import Settings
from tesp_api.store.base import Changes, Claim, Job
from tesp_api.store.sqlite import DATABASE
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tests.factories import make_task
from tests.fakes.pulsar import FakePulsar
from tests.unit.runner.attempts import Sites, running, until_true


def take_over(folder: Path, task_id: str) -> None:
    """Another process claims the task, as it may once the lease is over."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db, db:
        db.execute(
            "UPDATE tasks SET claim_owner = 'other', claim_epoch = claim_epoch + 1 WHERE id = ?", (task_id,)
        )


async def running_task(sites: Sites) -> tuple[str, str, FakePulsar]:
    """A task whose worker is in its first executor; the id of its job, and where that is."""
    task_id = await sites.submit()
    worker = await sites.worker(task_id)
    worker.start()
    worker.event("executor_started", executor=0)
    await sites.in_state(task_id, State.RUNNING)
    return task_id, worker.job_id, worker.pulsar


async def test_a_process_that_stood_still_looks_anew_before_it_judges(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        lost_after_s = sites.settings.scheduler.lost_after_s
        looks = 0
        read_file = worker.pulsar.read_file

        async def count(job_id: str, name: str) -> bytes | None:
            nonlocal looks
            looks += name == "heartbeat"
            if looks == 1:
                time.sleep(2 * lost_after_s)  # noqa: ASYNC251 - the whole process stands still
            if looks == 3:  # what the worker wrote meanwhile is seen only now
                worker.beat()
            return await read_file(job_id, name)

        worker.pulsar.read_file = count  # type: ignore[method-assign]
        await until_true(lambda: _is(looks > 5))
        assert worker.pulsar.cancelled == []
        worker.finish()
        assert (await sites.ended(task_id)).state is State.COMPLETE


async def _is(condition: bool) -> bool:
    return condition


async def test_a_cancel_is_not_passed_on_for_a_task_of_another_process(tmp_path: Path) -> None:
    async with running(tmp_path, scheduler={"lease_s": 300, "poll_min_s": 0.01}) as sites:
        task_id, job_id, pulsar = await running_task(sites)
        take_over(tmp_path, task_id)
        await sites.cancel(task_id)
        scheduler = sites.scheduler
        assert scheduler is not None
        await until_true(lambda: _is(task_id not in scheduler._driven))
        assert (pulsar.cancelled, "cancel" in pulsar.jobs[job_id].files) == ([], False)


async def test_a_job_that_seems_lost_is_not_killed_for_another_process(tmp_path: Path) -> None:
    timing = {
        "lease_s": 300,
        "poll_min_s": 0.01,
        "poll_max_s": 0.05,
        "heartbeat_s": 0.05,
        "lost_after_s": 0.3,
    }
    async with running(tmp_path, scheduler=timing) as sites:
        task_id, job_id, pulsar = await running_task(sites)
        take_over(tmp_path, task_id)
        scheduler = sites.scheduler
        assert scheduler is not None
        await until_true(lambda: _is(task_id not in scheduler._driven))
        assert (pulsar.cancelled, pulsar.jobs[job_id].state) == ([], JobState.RUNNING)


async def test_a_fence_looks_again_when_its_last_look_is_old(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id, _, _ = await running_task(sites)
        claim = (await sites.store.get(task_id)).claim
        assert claim is not None
        fresh, old = Fence(sites.store, claim, lease_s=300), Fence(sites.store, claim, lease_s=0)
        await old.check()
        await check_claim(sites.store, claim)
        take_over(tmp_path, task_id)
        await fresh.check()
        for refused in (old.check(), check_claim(sites.store, replace(claim, epoch=claim.epoch + 1))):
            with pytest.raises(ClaimLost):
                await refused


async def test_jobs_whose_attempts_are_over_are_removed_and_others_stay(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id, job_id, pulsar = await running_task(sites)
        for stray in (f"{task_id}-2", "0190f7b0-0000-7000-8000-000000000000-1"):
            await pulsar.set_up(stray)

        async def own_jobs() -> list[str]:
            return list(pulsar.jobs)

        pulsar.own_jobs = own_jobs  # type: ignore[method-assign]
        await strays.remove_own(pulsar, sites.store)
        assert list(pulsar.jobs) == [job_id, "0190f7b0-0000-7000-8000-000000000000-1"]


async def test_what_was_launched_too_late_is_removed_once_the_claim_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path, scheduler={"lease_s": 300, "poll_min_s": 0.01}) as sites:
        task_id, job_id, pulsar = await running_task(sites)
        take_over(tmp_path, task_id)
        epoch = 2
        other = Claim(task_id, "other", epoch, now())
        job = Job("near", f"{task_id}-2")
        await sites.store.update(task_id, Changes(attempt=2, job=job), claim=other)
        pulsar.put(
            job_id, "heartbeat", pulsar.jobs[job_id].files["heartbeat"].replace(b'"beat": ', b'"beat": 9')
        )
        await sites.cancel(task_id)
        await until_true(lambda: _is(job_id not in pulsar.jobs))


BROKER = {"kind": "amqp", "url": "amqp://broker/"}


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("preemptible", [False, True])
def test_behind_a_broker_what_is_lost_is_tried_again_only_if_workers_ask(
    asks: bool, preemptible: bool
) -> None:
    settings = Settings.model_validate(
        {
            "destinations": {"far": BROKER | {"preemptible": preemptible}},
            "retries": {"run_again": ["lost", "preempted"], "lost": 3},
        }
    )
    task = replace(make_task(), attempt=1, job=Job("far", "job-1", asks=asks), logs=({},))
    ending = judged(task, Ending(State.SYSTEM_ERROR, "vanished", "lost"), settings)
    assert (another(task, ending, settings.retries, now()) is not None) is asks
    never = Ending(State.SYSTEM_ERROR, "exit code 126", "never_started", may_have_run=False)
    assert another(task, judged(task, never, settings), settings.retries, now()) is not None
