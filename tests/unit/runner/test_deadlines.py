"""A task that is in a state for too long is stopped; restarts put nothing off."""

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
from tests.unit.runner.attempts import running, until_true

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
        assert (await sites.ended(task_id)).state is State.COMPLETE


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
