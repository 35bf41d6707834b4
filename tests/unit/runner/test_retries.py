"""Which failures are followed by another attempt, where, when, and what a user sees of it."""

from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import PulsarUnavailable
from tesp_api.runner.health import OPENS_AFTER
from tesp_api.tes.states import State
from tests.fakes.site import FakeWorker
from tests.unit.runner.attempts import Sites, running, until_true

SOON = {"pause_s": 0.01}
LATER = {"pause_s": 300}


def fail(worker: FakeWorker, cause: str, begun: int, state: str = "SYSTEM_ERROR") -> None:
    """An attempt that ends like this, after so many executors have begun."""
    worker.start()
    for _ in range(begun):
        worker.run_executor(exit_code=1)
    worker.finish(state, f"failed: {cause}", cause=cause, begun=begun)


def vanish(worker: FakeWorker) -> None:
    worker.start()
    worker.event("executor_started", executor=0)
    worker.pulsar.end(worker.job_id)


async def complete(sites: Sites, task_id: str, attempt: int) -> None:
    worker = await sites.worker(task_id, attempt)
    worker.start()
    worker.run_executor()
    worker.finish(begun=1)


@pytest.mark.parametrize(
    ("cause", "begun", "preemptible", "rules"),
    [
        ("storage_away", 0, False, {}),
        ("staging", 0, False, {"staging": 2}),
        ("storage_away", 1, False, {"run_again": ["storage_away"]}),
        ("ended_by_site", 0, False, {}),
        ("ended_by_site", 1, True, {}),
        ("ended_by_site", 1, False, {"run_again": ["preempted"]}),
        ("executor", 1, False, {"run_again": ["executor"]}),
    ],
)
async def test_what_is_tried_again(
    tmp_path: Path, cause: str, begun: int, preemptible: bool, rules: dict[str, Any]
) -> None:
    async with running(tmp_path, retries=SOON | rules) as sites:
        task_id = await sites.submit(preemptible=preemptible)
        fail(
            await sites.worker(task_id),
            cause,
            begun,
            "EXECUTOR_ERROR" if cause == "executor" else "SYSTEM_ERROR",
        )
        await complete(sites, task_id, 2)
        task = await sites.ended(task_id)
        assert (task.state, task.attempt, len(task.logs)) == (State.COMPLETE, 2, 2)
        first, second = task.logs
        assert [len(log["logs"]) for log in (first, second)] == [begun, 1]
        assert f"failed: {cause}" in first["system_logs"]
        last = 5 if cause == "ended_by_site" else 2  # by the limit of the cause, not by that of all
        assert "another attempt follows after 0.01 s" in first["system_logs"][-1]
        assert f"this was attempt 1 of {last})" in first["system_logs"][-1]
        assert first["end_time"]
        assert first["metadata"]["cause"] == cause.replace("ended_by_site", "preempted")
        assert "system_logs" not in second
        before = ["INITIALIZING", "RUNNING"] if begun else ["INITIALIZING"]
        after = ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
        assert await sites.states(task_id) == ["QUEUED", *before, *after]
        assert all(pulsar.jobs == {} for pulsar in sites.pulsars.values())


@pytest.mark.parametrize(
    ("cause", "begun", "state"),
    [
        ("staging", 0, State.SYSTEM_ERROR),
        ("storage_away", 1, State.SYSTEM_ERROR),
        ("ended_by_site", 1, State.SYSTEM_ERROR),
        ("executor", 1, State.EXECUTOR_ERROR),
        ("other", 0, State.SYSTEM_ERROR),
        ("", 0, State.SYSTEM_ERROR),
    ],
)
async def test_what_is_not_tried_again(tmp_path: Path, cause: str, begun: int, state: State) -> None:
    async with running(tmp_path, retries=SOON) as sites:
        task_id = await sites.submit()
        fail(await sites.worker(task_id), cause, begun, state)
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (state, 1)
        assert sites.launches() == [f"{task_id}-1"]


async def test_a_worker_that_does_not_say_what_began_counts_as_one_that_began_all(tmp_path: Path) -> None:
    async with running(tmp_path, retries=SOON) as sites:
        task_id = await sites.submit()
        (await sites.worker(task_id)).finish("SYSTEM_ERROR", cause="storage_away")
        assert (await sites.ended(task_id)).attempt == 1


async def test_a_lost_worker_is_replaced_only_where_executors_may_run_again(tmp_path: Path) -> None:
    async with running(tmp_path, retries=SOON | {"run_again": ["lost"]}) as sites:
        task_id = await sites.submit()
        vanish(await sites.worker(task_id))
        vanish(await sites.worker(task_id, 2))
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.SYSTEM_ERROR, 2)
        assert task.logs[-1]["system_logs"][-1].endswith("(attempt 2, the last)")
        assert task.logs[-1]["metadata"]["cause"] == "lost"


async def test_a_preemptible_task_that_is_preempted_too_often_ends_so(tmp_path: Path) -> None:
    async with running(tmp_path, retries=SOON | {"preempted": 2}) as sites:
        task_id = await sites.submit(preemptible=True)
        for attempt in (1, 2):
            fail(await sites.worker(task_id, attempt), "ended_by_site", 1)
        task = await sites.ended(task_id)
        assert (task.state, task.attempt) == (State.PREEMPTED, 2)
        assert "failed: ended_by_site (attempt 2, the last)" in task.logs[-1]["system_logs"]


async def test_a_worker_that_vanishes_where_jobs_are_preempted_was_preempted(tmp_path: Path) -> None:
    async with running(tmp_path, {"spot": {"preemptible": True}}, retries=SOON | {"preempted": 1}) as sites:
        task_id = await sites.submit(preemptible=True)
        vanish(await sites.worker(task_id))
        assert (await sites.ended(task_id)).state is State.PREEMPTED


@pytest.mark.parametrize(("asked", "attempts"), [("1", 1), ("2", 2), (None, 3)])
async def test_a_task_may_ask_for_fewer_attempts(tmp_path: Path, asked: str | None, attempts: int) -> None:
    async with running(tmp_path, retries=SOON | {"max_attempts": 3, "storage_away": 9}) as sites:
        task_id = await sites.submit(parameters={"Max_Attempts": asked} if asked else {})
        for attempt in range(1, attempts + 1):
            fail(await sites.worker(task_id, attempt), "storage_away", 0)
        assert (await sites.ended(task_id)).attempt == attempts


async def test_each_cause_has_a_count_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path, retries=SOON | {"storage_away": 2, "never_started": 2}) as sites:
        task_id = await sites.submit()
        fail(await sites.worker(task_id), "storage_away", 0)
        second = await sites.worker(task_id, 2)
        second.pulsar.end(second.job_id)
        fail(await sites.worker(task_id, 3), "storage_away", 0)
        assert (await sites.ended(task_id)).attempt == 3


async def test_the_next_attempt_goes_elsewhere_if_it_can(tmp_path: Path) -> None:
    async with running(tmp_path, {"near": {"weight": 2}, "far": {}}, retries=SOON) as sites:
        task_id = await sites.submit()
        first = await sites.worker(task_id)
        assert first.pulsar.name == "near"
        fail(first, "storage_away", 0)
        second = await sites.worker(task_id, 2)
        assert second.pulsar.name == "far"
        second.finish(begun=1)
        task = await sites.ended(task_id)
        assert [log["metadata"]["destination"] for log in task.logs] == ["near", "far"]
        reasons = [entry.reason for entry in await sites.store.history(task_id)]
        assert any("near cannot take it: the attempt before was there" in reason for reason in reasons)


async def test_the_next_attempt_goes_where_the_last_one_was_once_all_others_are_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They answered when it began to wait for them."""
    sites_of_two = {"near": {"weight": 2}, "far": {"max_running": 1}}
    async with running(tmp_path, sites_of_two, retries=SOON) as sites:
        holder = await sites.submit(parameters={"destination": "far"})
        held = await sites.worker(holder)
        task_id = await sites.submit()
        fail(await sites.worker(task_id), "storage_away", 0)

        async def waits() -> bool:
            history = await sites.store.history(task_id)
            return "waits: far: all 1 places are taken" in history[-1].reason

        await until_true(waits)

        async def away(*_: object) -> None:
            raise PulsarUnavailable("down")

        monkeypatch.setattr(held.pulsar, "check", away)
        assert sites.scheduler is not None
        for _ in range(OPENS_AFTER):
            with pytest.raises(PulsarUnavailable):
                await sites.scheduler.health.check("far")
        assert (await sites.worker(task_id, 2)).pulsar.name == "near"
        await complete(sites, task_id, 2)
        assert (await sites.ended(task_id)).state is State.COMPLETE


async def test_a_task_that_names_its_destination_goes_there_again(tmp_path: Path) -> None:
    async with running(tmp_path, {"near": {}, "far": {}}, retries=SOON) as sites:
        task_id = await sites.submit(parameters={"destination": "near"})
        fail(await sites.worker(task_id), "storage_away", 0)
        assert (await sites.worker(task_id, 2)).pulsar.name == "near"


# -- the pause


async def test_a_pause_outlives_restarts_and_takes_no_place(tmp_path: Path) -> None:
    async with running(tmp_path, {"near": {"max_running": 1}}, retries=LATER) as sites:
        task_id = await sites.submit()
        fail(await sites.worker(task_id), "storage_away", 0)
        said = (await sites.given_up(task_id)).logs[0]["metadata"]["next_attempt_at"]
        await sites.restart()
        other = await sites.submit()
        await complete(sites, other, 1)
        await sites.ended(other)
        task = await sites.store.get(task_id)
        assert (task.state, task.attempt) == (State.QUEUED, 1)
        assert task.logs[0]["metadata"]["next_attempt_at"] == said
        assert sites.launches() == [f"{task_id}-1", f"{other}-1"]


async def test_a_pause_that_passed_while_no_server_ran_is_over(tmp_path: Path) -> None:
    async with running(tmp_path, retries={"pause_s": 1.0}) as sites:
        task_id = await sites.submit()
        fail(await sites.worker(task_id), "storage_away", 0)
        await sites.given_up(task_id)
        await sites.restart()
        await complete(sites, task_id, 2)
        assert (await sites.ended(task_id)).state is State.COMPLETE
        assert sites.launches() == [f"{task_id}-1", f"{task_id}-2"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_cancel_ends_the_pause_at_once(tmp_path: Path, restarted: bool) -> None:
    async with running(tmp_path, retries=LATER) as sites:
        task_id = await sites.submit()
        fail(await sites.worker(task_id), "storage_away", 0)
        await sites.given_up(task_id)
        if restarted:
            await sites.stop()
        await sites.cancel(task_id)
        if restarted:
            await sites.start()
        task = await sites.ended(task_id)
        assert (task.state, len(task.logs)) == (State.CANCELED, 1)
        assert sites.launches() == [f"{task_id}-1"]


async def test_no_attempt_begins_before_the_last_one_is_certainly_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site is away just when an attempt was given up, and the server is restarted meanwhile."""
    async with running(tmp_path, retries=SOON) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        asked: list[str] = []

        async def write_file(job_id: str, name: str, data: bytes) -> None:
            asked.append(job_id)
            raise PulsarUnavailable("down")

        async def is_asked_often() -> bool:
            return len(asked) >= 2

        with monkeypatch.context() as patch:
            patch.setattr(worker.pulsar, "write_file", write_file)
            fail(worker, "storage_away", 0)
            await until_true(is_asked_often)
            await sites.restart()
            asked.clear()
            await until_true(is_asked_often)
            assert set(asked) == {worker.job_id}
            assert sites.launches() == [worker.job_id]
        await complete(sites, task_id, 2)
        await sites.ended(task_id)
        assert sites.launches() == [f"{task_id}-1", f"{task_id}-2"]
