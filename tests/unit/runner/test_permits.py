"""What the runner makes of permits: what is proof that nothing ran, and what is not any more."""

from pathlib import Path

import pytest

from tesp_api.errors import PermitRefused, PulsarUnavailable
from tesp_api.tes.states import State
from tests.fakes.lender import LendsNothing
from tests.unit.runner.attempts import running, until_true

ONE, TWO = "0" * 16, "1" * 16
RETRIES = {"pause_s": 0.01, "never_started": 2, "lost": 2, "staging": 2, "max_attempts": 2}


@pytest.fixture(autouse=True)
def asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers ask for permits everywhere."""
    monkeypatch.setattr(LendsNothing, "gives_permits", lambda self, destination: True)


async def test_what_never_started_is_refused_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path, retries=RETRIES) as sites:
        task_id = await sites.submit()
        late = await sites.worker(task_id)
        late.pulsar.end(late.job_id)
        second = await sites.worker(task_id, attempt=2)
        with pytest.raises(PermitRefused, match="at attempt 2, not 1"):
            await sites.store.permit(task_id, 1, ONE, "start")
        await sites.store.permit(task_id, 2, TWO, "start")
        second.finish()
        assert (await sites.ended(task_id)).state is State.COMPLETE


async def test_a_worker_that_begins_after_all_is_followed(tmp_path: Path) -> None:
    """Pulsar says that the job is over, but its worker has just been let to start."""
    async with running(tmp_path, retries=RETRIES) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        await sites.store.permit(task_id, 1, ONE, "start")
        worker.pulsar.end(worker.job_id)
        await sites.store.permit(task_id, 1, ONE, "commit")
        worker.start()
        worker.finish()
        task = await sites.ended(task_id)
        assert (task.state, len(task.logs)) == (State.COMPLETE, 1)
        assert sites.launches() == [worker.job_id]


async def test_one_that_begins_and_is_never_seen_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path, retries=RETRIES) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        await sites.store.permit(task_id, 1, ONE, "start")
        worker.pulsar.end(worker.job_id)
        task = await sites.ended(task_id)
        assert (task.state, task.logs[0]["metadata"]["cause"]) == (State.SYSTEM_ERROR, "lost")
        assert set(sites.launches()) == {worker.job_id}


async def test_a_worker_that_was_sent_without_a_channel_may_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel was taken out of the settings while a Pulsar was away, before it had the job."""
    async with running(tmp_path, retries=RETRIES) as sites:
        pulsar = sites.pulsars["near"]
        for _ in range(99):
            pulsar.fail_next("launch", PulsarUnavailable("down"))
        task_id = await sites.submit()

        async def begun() -> bool:
            job = (await sites.store.get(task_id)).job
            return job is not None and job.asks

        await until_true(begun)
        await sites.stop()
        monkeypatch.setattr(LendsNothing, "gives_permits", lambda self, destination: False)
        pulsar._failures.clear()
        await sites.start()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        worker.pulsar.end(worker.job_id)
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.SYSTEM_ERROR, 1)
        assert task.logs[0]["metadata"]["cause"] == "lost"
        reasons = [entry.reason for entry in await sites.store.history(task_id)]
        assert any("no channel any more" in reason for reason in reasons)


@pytest.mark.parametrize("permitted", [False, True])
async def test_what_was_lost_before_it_was_let_to_start_is_tried_again(
    tmp_path: Path, permitted: bool
) -> None:
    async with running(tmp_path, retries=RETRIES) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        if permitted:
            await sites.store.permit(task_id, 1, ONE, "start")
        worker.pulsar.end(worker.job_id)
        if permitted:
            assert (await sites.ended(task_id)).state is State.SYSTEM_ERROR
            return
        second = await sites.worker(task_id, attempt=2)
        second.finish()
        task = await sites.ended(task_id)
        assert (task.state, task.logs[0]["metadata"]["cause"]) == (State.COMPLETE, "lost")


@pytest.mark.parametrize("permitted", [ONE, TWO])
async def test_nothing_ran_only_if_it_was_this_worker_that_might_have(tmp_path: Path, permitted: str) -> None:
    async with running(tmp_path, retries=RETRIES) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        await sites.store.permit(task_id, 1, permitted, "start")
        worker.finish("SYSTEM_ERROR", "no such file", cause="staging", begun=0, worker=ONE)
        if permitted == ONE:
            (await sites.worker(task_id, attempt=2)).finish()
            assert (await sites.ended(task_id)).state is State.COMPLETE
            return
        task = await sites.ended(task_id)
        assert (task.state, task.logs[0]["metadata"]["cause"]) == (State.SYSTEM_ERROR, "lost")
        assert "was permitted to start" in task.logs[0]["system_logs"][-1]


async def test_what_is_given_up_although_it_runs_may_send_nothing(tmp_path: Path) -> None:
    retries = RETRIES | {"run_again": ["lost"], "pause_s": 60}
    async with running(tmp_path, retries=retries) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.store.permit(task_id, 1, ONE, "start")
        worker.run_executor()
        await sites.in_state(task_id, State.RUNNING)
        worker.pulsar.end(worker.job_id)
        await sites.given_up(task_id)
        with pytest.raises(PermitRefused, match="attempt 1 of the task was given up"):
            await sites.store.permit(task_id, 1, ONE, "commit")
