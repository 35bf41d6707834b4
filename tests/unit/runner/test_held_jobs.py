"""Jobs that the scheduler behind a Pulsar lets wait: pending, suspended, or not told of for a while."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tesp_api.pulsar.base import JobState, JobStatus
from tesp_api.runner import follow_job, held_jobs
from tesp_api.tes.states import State
from tests.unit.runner.attempts import TIMING, Sites, running, until_true

ONCE = {"retries": {"never_started": 1}}


@pytest.fixture(autouse=True)
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_jobs, "_TOLD_AFTER_S", 0.0)


async def says(sites: Sites, task_id: str, words: str) -> bool:
    return any(words in entry.reason for entry in await sites.store.history(task_id))


async def submitted(sites: Sites, state: JobState) -> str:
    """A task whose job is in this state, and has not begun."""
    task_id = await sites.submit()
    await sites.worker(task_id)
    sites.pulsars["near"].jobs[f"{task_id}-1"].state = state
    return task_id


async def test_a_pending_job_is_queued_and_its_history_says_where(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await submitted(sites, JobState.WAITING)
        words = f"job {task_id}-1 waits for the scheduler at near"
        await until_true(lambda: says(sites, task_id, words))
        assert await sites.store.get_state(task_id) is State.QUEUED
        worker = await sites.worker(task_id)
        sites.pulsars["near"].jobs[f"{task_id}-1"].state = JobState.RUNNING
        worker.start()
        worker.finish()
        assert (await sites.ended(task_id)).state is State.COMPLETE
        told = [entry.reason for entry in await sites.store.history(task_id) if words in entry.reason]
        assert len(told) == 1


async def test_a_suspended_job_is_not_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        sites.pulsars["near"].jobs[f"{task_id}-1"].state = JobState.WAITING
        await until_true(lambda: says(sites, task_id, "is suspended, or queued once more"))
        await asyncio.sleep(2 * TIMING["lost_after_s"])  # that nothing happens meanwhile is the point
        assert await sites.store.get_state(task_id) is State.INITIALIZING
        sites.pulsars["near"].jobs[f"{task_id}-1"].state = JobState.RUNNING
        worker.run_executor()
        worker.finish()
        assert (await sites.ended(task_id)).state is State.COMPLETE


async def test_a_job_that_was_suspended_and_then_vanishes_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit()
        (await sites.worker(task_id)).start()
        sites.pulsars["near"].jobs[f"{task_id}-1"].state = JobState.WAITING
        await until_true(lambda: says(sites, task_id, "is suspended"))
        sites.pulsars["near"].end(f"{task_id}-1")
        assert (await sites.ended(task_id)).logs[0]["metadata"]["cause"] == "lost"


async def test_a_pending_job_is_killed_as_soon_as_it_is_canceled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, scheduler=TIMING | {"cancel_grace_s": 60}) as sites:
        task_id = await submitted(sites, JobState.WAITING)
        pulsar = sites.pulsars["near"]

        async def cancel(job_id: str) -> None:
            pulsar.end(job_id)

        monkeypatch.setattr(pulsar, "cancel", cancel)
        await sites.cancel(task_id)
        assert (await sites.ended(task_id)).state is State.CANCELED


async def test_a_scheduler_that_does_not_answer_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_job, "_UNSTARTED_GRACE_S", 0.0)
    async with running(tmp_path, **ONCE) as sites:
        task_id = await submitted(sites, JobState.UNTOLD)
        looks = count_looks(sites, monkeypatch)
        await until_true(lambda: true_once(lambda: len(looks) > 5))
        assert await sites.store.get_state(task_id) is State.QUEUED


def count_looks(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    looks, pulsar = [], sites.pulsars["near"]
    ask = pulsar.status

    async def status(job_id: str) -> JobStatus:
        looks.append(job_id)
        return await ask(job_id)

    monkeypatch.setattr(pulsar, "status", status)
    return looks


async def true_once(condition: Callable[[], bool]) -> bool:
    return condition()


async def test_a_pulsar_that_never_tells_of_a_job_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_job, "_UNTOLD_GRACE_S", 0.0)
    async with running(tmp_path, **ONCE) as sites:
        task_id = await submitted(sites, JobState.UNTOLD)
        assert (await sites.ended(task_id)).logs[0]["metadata"]["cause"] == "never_started"
