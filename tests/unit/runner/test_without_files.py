"""A site behind a broker that has no free slot: no file can be seen, but Pulsar hears and answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.base import JobState, JobStatus
from tesp_api.store.base import Task
from tesp_api.tes.states import State
from tests.fakes.pulsar import FakePulsar
from tests.unit.runner.attempts import TIMING, Sites, running, until_true
from tests.unit.runner.test_fencing import take_over


class Slots:
    """While `taken`, files of the site are neither read nor written."""

    def __init__(self, pulsar: FakePulsar) -> None:
        self.taken = False
        self.tries = 0
        self.kills = 0
        pulsar.min_pause_s = 0.005
        self._read, self._write, self._cancel = pulsar.read_file, pulsar.write_file, pulsar.cancel
        pulsar.read_file = self.read_file  # type: ignore[method-assign]
        pulsar.write_file = self.write_file  # type: ignore[method-assign]
        pulsar.cancel = self.cancel  # type: ignore[method-assign]

    async def read_file(self, job_id: str, name: str) -> bytes | None:
        self._need_one()
        return await self._read(job_id, name)

    async def write_file(self, job_id: str, name: str, data: bytes) -> None:
        self._need_one()
        await self._write(job_id, name, data)

    async def cancel(self, job_id: str) -> None:
        self.kills += 1
        await self._cancel(job_id)

    def _need_one(self) -> None:
        self.tries += 1
        if self.taken:
            raise PulsarUnavailable("the site gave no answer in 30 s")


@asynccontextmanager
async def busy(tmp_path: Path, **tables: Any) -> AsyncIterator[tuple[Sites, FakePulsar, Slots]]:
    async with running(tmp_path, **tables) as sites:
        (pulsar,) = sites.pulsars.values()
        yield sites, pulsar, Slots(pulsar)


async def launched(sites: Sites, pulsar: FakePulsar, **what: Any) -> tuple[str, str]:
    task_id = await sites.submit(**what)
    await until_true(lambda: _is(f"{task_id}-1" in pulsar.launches))
    return task_id, f"{task_id}-1"


async def _is(condition: bool) -> bool:
    return condition


def told(task: Task) -> str:
    return str(task.logs[-1]["system_logs"])


async def test_a_cancel_reaches_a_job_whose_files_cannot_be_seen(tmp_path: Path) -> None:
    async with busy(tmp_path) as (sites, pulsar, slots):
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        slots.taken = True
        await sites.cancel(task_id)
        assert (await sites.ended(task_id)).state is State.CANCELED
        assert pulsar.cancelled == [worker.job_id]


async def test_a_kill_that_came_too_early_is_repeated(tmp_path: Path) -> None:
    """Pulsar forgets one of a job that it has not launched yet."""
    async with busy(tmp_path) as (sites, pulsar, slots):
        slots.taken = True
        task_id, job_id = await launched(sites, pulsar)
        pulsar.jobs[job_id].state = JobState.PENDING
        await sites.cancel(task_id)
        await until_true(lambda: _is(slots.kills > 1))
        assert await sites.store.get_state(task_id) is State.CANCELING
        pulsar.jobs[job_id].state = JobState.RUNNING
        assert (await sites.ended(task_id)).state is State.CANCELED
        assert pulsar.cancelled == [job_id]


async def test_a_server_that_begins_anew_passes_the_cancel_on(tmp_path: Path) -> None:
    async with busy(tmp_path) as (sites, pulsar, slots):
        slots.taken = True
        task_id, job_id = await launched(sites, pulsar)
        await sites.stop()
        await sites.cancel(task_id)
        await sites.start()
        assert (await sites.ended(task_id)).state is State.CANCELED
        assert pulsar.cancelled == [job_id]


async def test_a_deadline_ends_a_job_whose_files_cannot_be_seen(tmp_path: Path) -> None:
    async with busy(tmp_path) as (sites, pulsar, slots):
        slots.taken = True
        task_id, job_id = await launched(sites, pulsar, parameters={"queued_s": "0.2"})
        task = await sites.ended(task_id)
        assert task.state is State.SYSTEM_ERROR
        assert "was QUEUED for longer than queued_s" in told(task)
        assert pulsar.cancelled == [job_id]


async def test_a_job_of_another_process_is_not_killed(tmp_path: Path) -> None:
    async with busy(tmp_path, scheduler={**TIMING, "lease_s": 300}) as (sites, pulsar, slots):
        slots.taken = True
        task_id, _ = await launched(sites, pulsar)
        take_over(tmp_path, task_id)
        await sites.cancel(task_id)
        scheduler = sites.scheduler
        assert scheduler is not None
        await until_true(lambda: _is(task_id not in scheduler._driven))
        assert slots.kills == 0


async def test_a_job_that_is_over_is_judged_once_its_files_are_seen(tmp_path: Path) -> None:
    async with busy(tmp_path) as (sites, _, slots):
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        slots.taken = True
        worker.finish()
        tries = slots.tries
        await until_true(lambda: _is(slots.tries > tries + 2))
        assert await sites.store.get_state(task_id) is State.INITIALIZING
        slots.taken = False
        assert (await sites.ended(task_id)).state is State.COMPLETE
        assert slots.kills == 0


async def test_what_a_job_waits_for_is_told_though_no_file_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tesp_api.runner.held_jobs._TOLD_AFTER_S", 0.05)
    async with busy(tmp_path) as (sites, pulsar, slots):
        slots.taken = True
        task_id, job_id = await launched(sites, pulsar)
        pulsar.jobs[job_id].state = JobState.WAITING

        async def is_told() -> bool:
            history = await sites.store.history(task_id)
            return any("waits for the scheduler at near" in entry.reason for entry in history)

        await until_true(is_told)


async def test_an_order_that_pulsar_does_not_have_is_sent_again(tmp_path: Path) -> None:
    async with busy(tmp_path) as (sites, pulsar, slots):
        slots.taken = True
        task_id, job_id = await launched(sites, pulsar)
        del pulsar.jobs[job_id]  # its disk was full when the order came
        await until_true(lambda: _is(job_id in pulsar.jobs))
        slots.taken = False
        worker = await sites.worker(task_id)
        worker.start()
        worker.finish()
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.COMPLETE, 1)


async def test_the_order_comes_again_before_the_job_is_given_up(tmp_path: Path) -> None:
    async with busy(tmp_path) as (sites, pulsar, _):
        status = pulsar.status

        async def lost_at_first(job_id: str) -> JobStatus:
            if len(pulsar.launches) == 1:
                pulsar.jobs.pop(job_id, None)
                return JobStatus(JobState.UNKNOWN, certain=False)
            return await status(job_id)

        pulsar.status = lost_at_first  # type: ignore[method-assign]
        task_id, job_id = await launched(sites, pulsar)
        await until_true(lambda: _is(pulsar.launches == [job_id, job_id]))
        worker = await sites.worker(task_id)
        worker.start()
        worker.finish()
        assert (await sites.ended(task_id)).state is State.COMPLETE


async def test_where_files_need_no_slot_a_moments_fault_kills_nobody(tmp_path: Path) -> None:
    async with busy(tmp_path) as (sites, pulsar, slots):
        pulsar.min_pause_s = 0.0
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        slots.taken = True
        await sites.cancel(task_id)
        tries = slots.tries
        await until_true(lambda: _is(slots.tries > tries + 2))
        assert slots.kills == 0
        slots.taken = False
        await until_true(lambda: _is("cancel" in pulsar.jobs[worker.job_id].files))
        worker.finish("CANCELED")
        assert (await sites.ended(task_id)).state is State.CANCELED


async def test_a_log_of_which_a_report_broke_off_comes_whole(tmp_path: Path) -> None:
    async with running(tmp_path, logs={"chunk_bytes": 1024}) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        worker.run_executor()
        text = b"0123456789" * 250
        worker.write_log("0.stdout", text, chunk_bytes=1024)
        whole = dict(worker.pulsar.jobs[worker.job_id].files)
        for name in (n for n in whole if n.startswith("logs/")):
            worker.pulsar.put(worker.job_id, name, whole[name][:100])

        async def let_go(job_id: str, name: str) -> None:
            worker.pulsar.put(job_id, name, whole[name])

        worker.pulsar.let_go = let_go  # type: ignore[method-assign]
        worker.finish()
        assert (await sites.ended(task_id)).state is State.COMPLETE
        part = await sites.store.read_log(task_id, 1, 0, "stdout", offset=0, limit=10_000)
        assert part.data == text
