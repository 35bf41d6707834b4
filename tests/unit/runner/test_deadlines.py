"""A task that is in a state for too long is stopped; restarts put nothing off."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import Fault, PulsarUnavailable
from tesp_api.runner.deadlines import Deadlines, came_at
from tesp_api.runner.routing import Routing
from tesp_api.settings import Settings
from tesp_api.store.base import HistoryEntry
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tests.factories import make_request
from tests.fakes.pulsar import FakePulsar
from tests.fakes.site import FakeWorker
from tests.unit.runner.attempts import TIMING, running, until_true

FULL = {"near": {"max_running": 1}}


async def test_a_task_that_runs_for_too_long_is_stopped(tmp_path: Path) -> None:
    async with running(tmp_path, deadlines={"running_s": 0.3}) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)

        async def told() -> bool:
            worker.beat()
            return "cancel" in worker.pulsar.jobs[worker.job_id].files

        await until_true(told)
        worker.finish("CANCELED", "canceled on request", begun=1)
        task = await sites.ended(task_id)
        assert task.state is State.SYSTEM_ERROR
        assert task.logs[0]["system_logs"][-1] == "was RUNNING for longer than running_s = 0.3 s"
        assert await sites.states(task_id) == ["QUEUED", "INITIALIZING", "RUNNING", "SYSTEM_ERROR"]
        assert worker.pulsar.jobs == {}


async def test_a_worker_that_does_not_obey_is_killed_through_pulsar(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit(parameters={"initializing_s": "0.2"})
        worker = await sites.worker(task_id)
        worker.start()
        task = await sites.ended(task_id)
        assert task.state is State.SYSTEM_ERROR
        assert "was INITIALIZING for longer than initializing_s = 0.2 s" in task.logs[0]["system_logs"]
        assert worker.pulsar.cancelled == [worker.job_id]


@pytest.mark.parametrize("cause", ["ended_by_site", "time_limit"])
async def test_a_job_that_is_killed_for_its_deadline_was_not_preempted(tmp_path: Path, cause: str) -> None:
    """Its worker does not see the order to stop, and says that the site has ended it: we had it done."""
    async with running(tmp_path, retries={"pause_s": 0.01, "run_again": ["preempted"]}) as sites:
        task_id = await sites.submit(preemptible=True, parameters={"running_s": "0.2"})
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)
        killed_says(worker, cause)
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.SYSTEM_ERROR, 1)
        assert "was RUNNING for longer than running_s = 0.2 s" in task.logs[0]["system_logs"]
        assert task.logs[0]["metadata"]["stopped_for"] == "was RUNNING for longer than running_s = 0.2 s"
        assert worker.pulsar.cancelled == [worker.job_id]


def killed_says(worker: FakeWorker, cause: str) -> None:
    """When Pulsar kills the job, its worker says this of it."""
    cancel = worker.pulsar.cancel

    async def cancel_and_tell(job_id: str) -> None:
        await cancel(job_id)
        worker.finish("SYSTEM_ERROR", f"it was {cause}", cause=cause, begun=1)

    worker.pulsar.cancel = cancel_and_tell  # type: ignore[method-assign]


async def test_a_canceled_job_that_the_site_ends_was_not_preempted(tmp_path: Path) -> None:
    async with running(tmp_path, retries={"pause_s": 0.01, "run_again": ["preempted"]}) as sites:
        task_id = await sites.submit(preemptible=True)
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)
        killed_says(worker, "ended_by_site")
        await sites.in_state(task_id, State.RUNNING)
        await sites.cancel(task_id)
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.CANCELED, 1)


async def test_what_was_preempted_before_it_was_told_to_stop_runs_again(tmp_path: Path) -> None:
    """The deadline passes while no server looks, and by then the job had been over for long."""
    async with running(tmp_path, retries={"pause_s": 0.01}) as sites:
        task_id = await sites.submit(preemptible=True, parameters={"running_s": "0.3"})
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)
        await sites.in_state(task_id, State.RUNNING)
        await sites.stop()
        worker.finish("SYSTEM_ERROR", "preempted", cause="ended_by_site", begun=1)
        await asyncio.sleep(0.4)
        await sites.start()
        (await sites.worker(task_id, 2)).finish(begun=1)
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.COMPLETE, 2)
        assert "stopped_for" not in task.logs[0]["metadata"]


@pytest.mark.parametrize("cause", ["", "ended_by_site"])
async def test_a_restart_does_not_forget_why_a_job_was_stopped(tmp_path: Path, cause: str) -> None:
    """It begins in that moment, so that it is not in the state any more that it was in for too long."""
    patient = {"scheduler": TIMING | {"cancel_grace_s": 60}}
    async with running(tmp_path, **patient) as sites:
        task_id = await sites.submit(preemptible=True, parameters={"queued_s": "0.2"})
        worker = await sites.worker(task_id)

        async def told() -> bool:
            return "cancel" in worker.pulsar.jobs[worker.job_id].files

        await until_true(told)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        await sites.stop()
        worker.finish("SYSTEM_ERROR" if cause else "CANCELED", "stopped", cause=cause, begun=0)
        await sites.start()
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.SYSTEM_ERROR, 1)
        assert "was QUEUED for longer than queued_s = 0.2 s" in task.logs[0]["system_logs"]
        assert await sites.states(task_id) == ["QUEUED", "INITIALIZING", "SYSTEM_ERROR"]


async def test_a_worker_that_nobody_has_told_to_stop_was_not_canceled(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        worker.finish("CANCELED", "canceled on request", begun=0)
        task = await sites.ended(task_id)
        assert task.state is State.SYSTEM_ERROR
        assert "nobody has asked for here (canceled on request)" in task.logs[0]["system_logs"][-1]


async def test_a_job_that_is_being_stopped_is_not_looked_at_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s: list[float] = []
    wait_for_news = FakePulsar.wait_for_news

    async def noted(self: FakePulsar, job_id: str, timeout_s: float) -> None:
        if "cancel" in self.jobs[job_id].files:
            pauses_s.append(timeout_s)
        await wait_for_news(self, job_id, timeout_s)

    monkeypatch.setattr(FakePulsar, "wait_for_news", noted)
    patient = {"scheduler": TIMING | {"cancel_grace_s": 60}}
    async with running(tmp_path, **patient) as sites:
        task_id = await sites.submit(parameters={"initializing_s": "0.2"})
        worker = await sites.worker(task_id)
        worker.start()

        async def looked_at() -> bool:
            worker.beat()
            return len(pauses_s) > 3

        await until_true(looked_at)
        assert min(pauses_s) > TIMING["poll_min_s"]
        worker.finish("CANCELED", begun=0)
        assert (await sites.ended(task_id)).state is State.SYSTEM_ERROR


async def test_what_was_done_when_the_deadline_came_is_done(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit(parameters={"running_s": "0.2"})
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)

        async def told() -> bool:
            worker.beat()
            return "cancel" in worker.pulsar.jobs[worker.job_id].files

        await until_true(told)
        worker.finish(begun=1)
        task = await sites.ended(task_id)
        assert task.state is State.COMPLETE
        assert "stopped_for" not in task.logs[0]["metadata"]


async def test_a_cancel_that_comes_after_the_deadline_wins(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit(parameters={"running_s": "0.05"})
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)
        await sites.in_state(task_id, State.RUNNING)
        await sites.cancel(task_id)
        assert (await sites.ended(task_id)).state is State.CANCELED


async def test_a_restart_does_not_put_a_deadline_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, deadlines={"running_s": 3600}) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)
        await sites.in_state(task_id, State.RUNNING)
        await sites.stop()
        monkeypatch.setattr(sites.store, "_clock", lambda: now() + timedelta(hours=1))
        await sites.start()
        assert (await sites.ended(task_id)).state is State.SYSTEM_ERROR


async def test_a_clock_that_is_put_forward_ends_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where it ends the lease, so that the task is claimed once more by the same server."""
    async with running(tmp_path, deadlines={"running_s": 1800}) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        worker.event("executor_started", executor=0)
        await sites.in_state(task_id, State.RUNNING)
        claim = (await sites.store.get(task_id)).claim
        monkeypatch.setattr(sites.store, "_lease_clock", lambda: now() + timedelta(hours=1))
        monkeypatch.setattr(sites.store, "_clock", lambda: now() + timedelta(hours=1))
        sites.bell.ring("somebody else's")

        async def claimed_again() -> bool:
            return (await sites.store.get(task_id)).claim != claim

        await until_true(claimed_again)
        worker.beat()
        worker.finish(begun=1)
        assert (await sites.ended(task_id)).state is State.COMPLETE


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_task_that_waits_for_room_for_too_long(tmp_path: Path, restarted: bool) -> None:
    async with running(tmp_path, FULL) as sites:
        first = await sites.submit()
        holder = await sites.worker(first)
        task_id = await sites.submit(parameters={"queued_s": "0.3"})
        if restarted:
            await sites.restart()
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.SYSTEM_ERROR, 0)
        assert task.logs[0]["system_logs"] == ["was QUEUED for longer than queued_s = 0.3 s"]
        assert sites.launches() == [f"{first}-1"] * (2 if restarted else 1)
        holder.finish()
        assert (await sites.ended(first)).state is State.COMPLETE


async def test_a_job_that_the_site_does_not_begin_in_time_never_begins(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        task_id = await sites.submit(parameters={"queued_s": "0.2"})
        worker = await sites.worker(task_id)
        task = await sites.ended(task_id)
        assert task.state is State.SYSTEM_ERROR
        assert task.logs[0]["system_logs"][-1] == "was QUEUED for longer than queued_s = 0.2 s"
        assert worker.pulsar.cancelled == [worker.job_id]
        assert worker.pulsar.jobs == {}


async def test_a_job_that_could_not_be_launched_in_time_is_not(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        for _ in range(2):
            sites.pulsars["near"].fail_next("launch", PulsarUnavailable("down"))
        task_id = await sites.submit(parameters={"queued_s": "0.15"})
        assert (await sites.ended(task_id)).state is State.SYSTEM_ERROR
        assert sites.launches() == []


async def test_the_time_between_attempts_is_queued_time(tmp_path: Path) -> None:
    async with running(tmp_path, retries={"pause_s": 300}, deadlines={"queued_s": 0.3}) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        worker.finish("SYSTEM_ERROR", "no answer", cause="storage_away", begun=0)
        task = await sites.ended(task_id)
        assert (task.state, len(task.logs)) == (State.SYSTEM_ERROR, 1)
        said = task.logs[0]["system_logs"]
        assert said[0] == "no answer"
        assert said[-1] == "was QUEUED for longer than queued_s = 0.3 s"
        assert "next_attempt_at" not in task.logs[0]["metadata"]


async def test_each_attempt_has_the_whole_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[State] = []
    left_s = Deadlines.left_s

    async def noted(self: Deadlines, state: State) -> float:
        looked_at.append(state)
        return await left_s(self, state)

    async def is_looked_at() -> bool:
        worker.beat()
        return looked_at.count(State.INITIALIZING) > 4  # it is looked at no more once the deadline has passed

    monkeypatch.setattr(Deadlines, "left_s", noted)
    async with running(tmp_path, retries={"pause_s": 1.1}, deadlines={"initializing_s": 1}) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await until_true(is_looked_at)
        worker.finish("SYSTEM_ERROR", "no answer", cause="storage_away", begun=0)
        worker = await sites.worker(task_id, 2)
        looked_at.clear()
        worker.start()
        await until_true(is_looked_at)
        worker.run_executor()
        worker.finish(begun=1)
        assert (await sites.ended(task_id)).state is State.COMPLETE


def test_a_state_lasts_as_long_as_no_other_comes_between() -> None:
    begin = now()
    states = [State.QUEUED, State.RUNNING, State.QUEUED, State.QUEUED]
    history = [HistoryEntry(begin + timedelta(seconds=n), state, 1, "") for n, state in enumerate(states)]
    assert came_at(State.QUEUED, history) == begin + timedelta(seconds=2)
    assert came_at(State.RUNNING, history) is None


# -- what is refused at creation


def faults(parameters: dict[str, str], **tables: Any) -> list[Fault]:
    routing = Routing(Settings.model_validate(tables))
    document = make_request(resources={"backend_parameters": parameters})
    return list(routing.faults(document, "", False))


@pytest.mark.parametrize("value", ["0", "-1", "ten", "1e3", "inf", "nan", "1,5", "٣", "99999999999"])
def test_a_deadline_is_a_positive_number(value: str) -> None:
    [fault] = faults({"running_s": value})
    assert fault.field == "resources.backend_parameters.running_s"
    assert "positive number" in fault.message


def test_a_task_may_ask_for_less_than_the_server_allows_and_not_for_more() -> None:
    limits = {"deadlines": {"queued_s": 60}}
    assert faults({"Queued_S": "59.5"}, **limits) == []
    assert faults({"running_s": "86400"}, **limits) == []
    [fault] = faults({"queued_s": "61"}, **limits)
    assert fault.message == "61 s is more than the 60 s that this server allows"


@pytest.mark.parametrize("value", ["0", "6", "-1", "two", "1.5"])
def test_attempts_are_a_whole_number_up_to_the_servers(value: str) -> None:
    [fault] = faults({"max_attempts": value})
    assert fault.field == "resources.backend_parameters.max_attempts"
    assert "from 1 to 5" in fault.message
