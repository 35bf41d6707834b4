"""The scheduler and run_task on a real store, with a Pulsar whose workers the test plays."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tesp_api.bell import Bell
from tesp_api.errors import PulsarRefused, PulsarUnavailable, StoreUnavailable
from tesp_api.pulsar.base import JobState
from tesp_api.runner import follow_job
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.scheduler import Scheduler
from tesp_api.settings import Settings
from tesp_api.store.base import Task
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.tes.states import FINAL, State
from tesp_api.tes.times import now
from tests.factories import make_task
from tests.fakes.lender import LendsNothing
from tests.fakes.pulsar import FakePulsar
from tests.fakes.site import FakeWorker

CHUNK = 1024
SETTINGS = Settings.model_validate(
    {
        "destinations": {"site": {"max_running": 3}},
        "logs": {"chunk_bytes": CHUNK, "max_bytes": 4 * CHUNK},
        "scheduler": {
            "lease_s": 3,
            "scan_s": 0.05,
            "poll_min_s": 0.005,
            "poll_max_s": 0.05,
            "heartbeat_s": 0.05,
            "lost_after_s": 0.5,
            "cancel_grace_s": 0.1,
        },
    }
)


class Stage:
    """A store, a fake Pulsar and a scheduler between them."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteTaskStore(folder)
        self.pulsar = FakePulsar("site")
        self.bell = Bell()
        self.scheduler = self.new_scheduler()

    def new_scheduler(self) -> Scheduler:
        transports, gateway = {"site": self.pulsar}, Gateway(SETTINGS)
        return Scheduler(self.store, transports, SETTINGS, self.bell, LendsNothing(), gateway)

    async def submit(self, **changes: Any) -> str:
        task = make_task(**changes)
        await self.store.create(task)
        self.bell.ring(task.id)
        return task.id

    async def cancel(self, task_id: str) -> None:
        await self.store.request_cancel(task_id, "asked for")
        self.bell.ring(task_id)

    async def worker(self, task_id: str, attempt: int = 1) -> FakeWorker:
        """The worker of the task's job, once that has been launched."""
        job_id = f"{task_id}-{attempt}"
        await until(lambda: job_id in self.pulsar.jobs)
        return FakeWorker(self.pulsar, job_id)

    async def ended(self, task_id: str) -> Task:
        """The task once nothing is left to do for it."""

        async def retired() -> bool:
            task = await self.store.get(task_id)
            return task.state in FINAL and not task.live

        await until_true(retired)
        return await self.store.get(task_id)

    async def has_stored(self, task_id: str, names: list[str]) -> bool:
        """Whether the store has exactly these events of the first attempt."""
        part = await self.store.read_log(task_id, 1, 0, "events", offset=0, limit=10**6)
        events = [json.loads(line) for line in part.data.splitlines()]
        assert [event["seq"] for event in events] == list(range(len(events)))
        return [event["event"] for event in events] == names

    async def until_stored(self, worker: FakeWorker, names: list[str]) -> None:
        """Wait until the store has these events; the worker lives meanwhile."""

        async def stored() -> bool:
            worker.beat()
            return await self.has_stored(worker.job_id.removesuffix("-1"), names)

        await until_true(stored)

    async def in_state(self, task_id: str, state: State) -> None:
        async def there() -> bool:
            return (await self.store.get(task_id)).state is state

        await until_true(there)


async def until(condition: Callable[[], object]) -> None:
    async def met() -> bool:
        return bool(condition())

    await until_true(met)


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in the store
            await asyncio.sleep(0.005)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    await stage.store.open()
    await stage.scheduler.start()
    yield stage
    await stage.scheduler.stop()
    await stage.store.aclose()


async def test_a_task_passes_through_its_states_to_its_end(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    worker.run_executor()
    await stage.in_state(task_id, State.RUNNING)
    worker.finish()
    task = await stage.ended(task_id)
    assert task.state is State.COMPLETE
    assert [log["logs"][0]["exit_code"] for log in task.logs] == [0]
    states = [entry.state for entry in await stage.store.history(task_id)]
    assert list(dict.fromkeys(states)) == ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
    assert stage.pulsar.jobs == {}, "the job was not cleaned"


async def test_a_worker_that_is_done_before_the_first_look(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.run_executor(exit_code=3)
    worker.finish("EXECUTOR_ERROR", "executor 0 ended with exit code 3")
    task = await stage.ended(task_id)
    assert task.state is State.EXECUTOR_ERROR
    assert task.logs[0]["logs"][0]["exit_code"] == 3


async def test_an_ended_executor_is_listed_while_the_next_one_runs(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.run_executor(exit_code=0)
    worker.event("executor_started", executor=1)

    async def listed() -> bool:
        task = await stage.store.get(task_id)
        return bool(task.logs and task.logs[0]["logs"])

    await until_true(listed)
    worker.finish()
    await stage.ended(task_id)


async def test_the_job_is_stored_before_it_is_launched(stage: Stage) -> None:
    stage.pulsar.fail_next("launch", PulsarUnavailable("down"))
    task_id = await stage.submit()

    async def has_job() -> bool:
        return (await stage.store.get(task_id)).job is not None

    await until_true(has_job)
    (await stage.worker(task_id)).finish()
    await stage.ended(task_id)


async def test_no_more_jobs_than_max_running(stage: Stage) -> None:
    ids = [await stage.submit() for _ in range(5)]
    await until(lambda: len(stage.pulsar.jobs) == 3)
    for number, task_id in enumerate(ids):  # the oldest first: each end makes room for the next
        worker = await stage.worker(task_id)
        assert len(stage.pulsar.jobs) <= 3, f"before task {number} ended"
        worker.start()
        worker.finish()
        await stage.ended(task_id)


async def test_a_job_that_cannot_be_removed_takes_no_other_s_place(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def clean(job_id: str) -> None:
        raise PulsarUnavailable(f"{job_id} holds files of root")

    with monkeypatch.context() as patch:
        patch.setattr(stage.pulsar, "clean", clean)
        for _ in range(3):  # as many as max_running
            task_id = await stage.submit()
            (await stage.worker(task_id)).finish()
            await stage.in_state(task_id, State.COMPLETE)
        await stage.worker(await stage.submit())


# -- claims


async def test_a_lease_that_ended_while_the_machine_slept_makes_no_second_driver(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    monkeypatch.setattr(stage.store, "_lease_clock", lambda: now() + timedelta(hours=1))

    async def claimed_again() -> bool:
        claim = (await stage.store.get(task_id)).claim
        return claim is not None and claim.epoch == 2

    await until_true(claimed_again)
    await until(lambda: len(drivers(task_id)) == 1)
    worker.event("executor_started", executor=0)
    await stage.in_state(task_id, State.RUNNING)
    await stage.cancel(task_id)  # the bell must reach the driver that is left
    await until(lambda: "cancel" in stage.pulsar.jobs[worker.job_id].files)
    worker.finish("CANCELED")
    assert (await stage.ended(task_id)).state is State.CANCELED


def drivers(task_id: str) -> list[str]:
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name == f"task {task_id}"]


async def test_a_claim_whose_answer_was_lost_is_driven_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = stage.store.claim

    async def lossy(owner: str, **how: Any) -> list[Task]:
        if await claim(owner, **how):
            raise StoreUnavailable("the answer was lost")
        return []

    monkeypatch.setattr(stage.store, "claim", lossy)
    (await stage.worker(await stage.submit())).finish()


# -- a Pulsar that is away, refuses, loses


async def test_a_pulsar_that_is_away_for_a_while_costs_no_task(stage: Stage) -> None:
    for _ in range(3):
        stage.pulsar.fail_next("launch", PulsarUnavailable("down"))
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    for method in ("read_file", "wait_for_news", "status"):
        stage.pulsar.fail_next(method, PulsarUnavailable("down again"))
    worker.finish()
    stage.pulsar.fail_next("clean", PulsarUnavailable("and again"))
    assert (await stage.ended(task_id)).state is State.COMPLETE


async def test_a_pulsar_that_refuses_ends_the_task_with_its_reason(stage: Stage) -> None:
    stage.pulsar.fail_next("launch", PulsarRefused("Pulsar 'site' does not accept our private token"))
    task = await stage.ended(await stage.submit())
    assert task.state is State.SYSTEM_ERROR
    assert "private token" in task.logs[0]["system_logs"][-1]


async def test_a_job_whose_worker_never_began_is_tried_under_a_new_id(stage: Stage) -> None:
    task_id = await stage.submit()
    await stage.worker(task_id, attempt=1)
    stage.pulsar.end(f"{task_id}-1")
    (worker := await stage.worker(task_id, attempt=2)).start()
    worker.run_executor()
    worker.finish()
    task = await stage.ended(task_id)
    assert task.state is State.COMPLETE
    assert task.attempt == 2
    assert "before the worker began" in task.logs[0]["system_logs"][0]
    assert len(task.logs) == 2


async def test_a_job_that_pulsar_may_have_forgotten_is_launched_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pulsar was killed when it had taken the job; that it was away only others have seen."""
    monkeypatch.setattr(follow_job, "_RELAUNCH_EVERY_S", 0.0)
    stage.pulsar.status_first = True
    task_id = await stage.submit()
    job_id = f"{task_id}-1"
    await until(lambda: stage.pulsar.launches == [job_id])
    stage.pulsar.jobs[job_id].state = JobState.WAITING
    stage.scheduler.health.doubt("site")
    await until(lambda: len(stage.pulsar.launches) == 2)
    worker = await stage.worker(task_id)
    worker.start()
    worker.run_executor()
    worker.finish()
    task = await stage.ended(task_id)
    assert (task.state, len(task.logs)) == (State.COMPLETE, 1)
    assert stage.pulsar.launches == [job_id] * 2


async def test_a_job_that_never_begins_ends_the_task_in_the_end(stage: Stage) -> None:
    task_id = await stage.submit()
    for attempt in (1, 2, 3):
        await stage.worker(task_id, attempt)
        stage.pulsar.end(f"{task_id}-{attempt}")
    task = await stage.ended(task_id)
    assert task.state is State.SYSTEM_ERROR
    assert "(attempt 3, the last)" in task.logs[-1]["system_logs"][-1]


async def test_a_worker_that_vanishes_is_a_system_error_that_says_so(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.event("executor_started", executor=0)
    await stage.in_state(task_id, State.RUNNING)
    stage.pulsar.end(worker.job_id)
    task = await stage.ended(task_id)
    assert task.state is State.SYSTEM_ERROR
    assert "vanished without a result" in task.logs[0]["system_logs"][-1]


async def test_what_a_vanished_worker_did_not_live_to_tell_is_in_the_log(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    heartbeat = stage.pulsar.jobs[worker.job_id].files["heartbeat"]
    worker.run_executor(exit_code=3)
    stage.pulsar.put(worker.job_id, "heartbeat", heartbeat)
    stage.pulsar.end(worker.job_id)
    task = await stage.ended(task_id)
    assert task.state is State.SYSTEM_ERROR
    assert [executor["exit_code"] for executor in task.logs[0]["logs"]] == [3]


async def test_a_worker_that_died_before_its_first_heartbeat_is_lost(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    stage.pulsar.put(worker.job_id, "started", b'{"pid": 1}')
    stage.pulsar.end(worker.job_id)
    task = await stage.ended(task_id)
    assert (task.state, task.attempt) == (State.SYSTEM_ERROR, 1)
    assert "vanished without a result" in task.logs[0]["system_logs"][-1]


@pytest.mark.parametrize("pulsar_was_away", [False, True])
async def test_a_job_whose_directory_vanishes_is_never_run_again(stage: Stage, pulsar_was_away: bool) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.event("executor_started", executor=0)
    await stage.in_state(task_id, State.RUNNING)
    del stage.pulsar.jobs[worker.job_id]
    if pulsar_was_away:
        stage.pulsar.fail_next("read_file", PulsarUnavailable("the site starts again"))
    task = await stage.ended(task_id)
    assert task.state is State.SYSTEM_ERROR
    assert stage.pulsar.launches == [worker.job_id]


async def test_a_job_that_was_closed_before_it_began_is_no_cancel(stage: Stage) -> None:
    """The server was killed after it had closed a job that did not begin; the job is launched again."""
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    stage.pulsar.put(worker.job_id, "started", b'{"pid": 1}')
    worker.finish("CANCELED", "canceled on request")
    (second := await stage.worker(task_id, attempt=2)).start()
    second.finish()
    assert (await stage.ended(task_id)).state is State.COMPLETE


async def test_a_silent_worker_is_killed_before_its_task_ends(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    task = await stage.ended(task_id)
    assert task.state is State.SYSTEM_ERROR
    assert stage.pulsar.cancelled == [worker.job_id]


async def test_a_worker_that_died_after_its_result_has_ended_well(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.run_executor()
    await stage.in_state(task_id, State.RUNNING)
    worker.finish(beat=False)
    assert (await stage.ended(task_id)).state is State.COMPLETE


async def test_a_fault_of_our_own_ends_the_task_rather_than_leaving_it(stage: Stage) -> None:
    for _ in range(5):
        stage.pulsar.fail_next("launch", ZeroDivisionError("a bug"))
    stage.scheduler.settings = SETTINGS
    task = await stage.ended(await stage.submit())
    assert task.state is State.SYSTEM_ERROR
    assert "ZeroDivisionError" in task.logs[0]["system_logs"][-1]


# -- cancel


async def test_a_queued_task_is_canceled_without_a_job(stage: Stage) -> None:
    held = [await stage.submit() for _ in range(3)]
    await until(lambda: len(stage.pulsar.jobs) == 3)
    task_id = await stage.submit()
    await stage.cancel(task_id)
    assert (await stage.ended(task_id)).state is State.CANCELED
    assert f"{task_id}-1" not in stage.pulsar.launches
    for other in held:
        (await stage.worker(other)).finish()
        await stage.ended(other)


async def test_a_cancel_before_the_launch_is_no_fault(stage: Stage) -> None:
    stage.pulsar.is_certain = False  # as over REST and AMQP
    for _ in range(50):
        stage.pulsar.fail_next("launch", PulsarUnavailable("away for a moment"))
    task_id = await stage.submit()

    async def has_job() -> bool:
        return (await stage.store.get(task_id)).job is not None

    await until_true(has_job)
    await stage.cancel(task_id)
    task = await stage.ended(task_id)
    assert (task.state, stage.pulsar.launches) == (State.CANCELED, [])
    assert "system_logs" not in task.logs[0]
    assert (await stage.store.history(task_id))[-1].reason == "canceled before its job was launched"


async def test_a_cancel_reaches_the_worker_first(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    await stage.cancel(task_id)
    await until(lambda: "cancel" in stage.pulsar.jobs[worker.job_id].files)
    worker.finish("CANCELED")
    assert (await stage.ended(task_id)).state is State.CANCELED
    assert stage.pulsar.cancelled == []


async def test_a_worker_that_does_not_heed_a_cancel_is_killed(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    await stage.cancel(task_id)
    assert (await stage.ended(task_id)).state is State.CANCELED
    assert stage.pulsar.cancelled == [worker.job_id]


async def test_a_cancel_wins_over_a_result_that_comes_after_it(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    await stage.cancel(task_id)
    worker.run_executor()
    worker.finish("COMPLETE")
    task = await stage.ended(task_id)
    assert task.state is State.CANCELED
    assert task.logs[0]["logs"], "what ran is shown all the same"


async def test_a_job_that_pulsar_never_starts_can_be_canceled(stage: Stage) -> None:
    task_id = await stage.submit()
    await stage.worker(task_id)
    stage.pulsar.jobs[f"{task_id}-1"].state = JobState.PENDING
    await stage.cancel(task_id)
    assert (await stage.ended(task_id)).state is State.CANCELED


# -- restart


async def test_a_new_scheduler_adopts_what_the_old_one_left(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.in_state(task_id, State.INITIALIZING)
    await stage.scheduler.stop()
    worker.run_executor()
    worker.finish()
    stage.scheduler = stage.new_scheduler()
    await stage.scheduler.start()
    task = await stage.ended(task_id)
    assert task.state is State.COMPLETE
    assert [len(log["logs"]) for log in task.logs] == [1]


# -- events


async def test_events_are_kept_over_a_restart_and_told_once(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.event("transfer", done_bytes=1)
    await stage.until_stored(worker, ["initializing", "transfer"])
    await stage.scheduler.stop()
    worker.event("transfer", done_bytes=2)
    stage.scheduler = stage.new_scheduler()
    await stage.scheduler.start()
    await stage.until_stored(worker, ["initializing", "transfer", "transfer"])
    worker.run_executor()
    worker.event("ended", state="COMPLETE")
    worker.finish()
    await stage.ended(task_id)
    names = ["initializing", "transfer", "transfer", "executor_started", "executor_ended", "ended"]
    assert await stage.has_stored(task_id, names)


async def test_progress_does_not_rewrite_the_attempts_log(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    await stage.until_stored(worker, ["initializing"])
    updates: list[Any] = []
    update = stage.store.update

    async def note(*given: Any, **more: Any) -> Task:
        updates.append(given)
        return await update(*given, **more)

    monkeypatch.setattr(stage.store, "update", note)
    worker.event("transfer", done_bytes=1)
    await stage.until_stored(worker, ["initializing", "transfer"])
    assert updates == []
    worker.event("message", text="said")
    await until(lambda: updates)
    worker.finish()
    await stage.ended(task_id)


async def test_a_lost_workers_events_are_kept(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.event("message", text="last words")
    stage.pulsar.end(worker.job_id)
    await stage.ended(task_id)
    assert await stage.has_stored(task_id, ["initializing", "message"])


# -- logs


async def test_logs_can_be_read_while_the_task_runs(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.event("executor_started", executor=0)
    data = b"\xff" * (CHUNK + 10)
    worker.write_log("0.stdout", data, chunk_bytes=CHUNK)

    async def readable() -> bool:
        return await stage.store.log_size(task_id, 1, 0, "stdout") == len(data)

    await until_true(readable)
    part = await stage.store.read_log(task_id, 1, 0, "stdout", offset=CHUNK - 5, limit=10**6)
    assert part.data == data[CHUNK - 5 :]
    worker.finish()
    await stage.ended(task_id)


async def test_a_long_log_keeps_its_head_and_its_tail(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.event("executor_started", executor=0)
    data = b"".join(bytes([65 + index]) * CHUNK for index in range(10))
    for size in range(CHUNK, len(data) + 1, CHUNK):
        worker.write_log("0.stdout", data[:size], chunk_bytes=CHUNK)

        async def copied(size: int = size) -> bool:
            return await stage.store.log_size(task_id, 1, 0, "stdout") == size

        await until_true(copied)

    async def is_cut() -> bool:  # which is done after the last chunk was stored
        tail = await stage.store.read_log(task_id, 1, 0, "stdout", offset=2 * CHUNK, limit=10**6)
        return (tail.offset, tail.data) == (8 * CHUNK, data[8 * CHUNK :])

    await until_true(is_cut)
    head = await stage.store.read_log(task_id, 1, 0, "stdout", offset=0, limit=10**6)
    assert head.data == data[: 2 * CHUNK]
    worker.finish()
    await stage.ended(task_id)


@pytest.mark.parametrize("at_the_end", [False, True])
async def test_a_part_of_a_log_that_cannot_be_had_for_a_moment_is_not_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, at_the_end: bool
) -> None:
    """Over REST a Pulsar that fails looks as if the file were not there."""
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    read_file, failed = stage.pulsar.read_file, asyncio.Event()

    async def fails_once(job_id: str, name: str) -> bytes | None:
        if name.startswith("logs/") and not failed.is_set():
            failed.set()
            return None
        return await read_file(job_id, name)

    monkeypatch.setattr(stage.pulsar, "read_file", fails_once)
    worker.start()
    if not at_the_end:
        worker.write_log("0.stdout", b"said", chunk_bytes=CHUNK)
        await failed.wait()
    worker.run_executor()
    worker.write_log("0.stdout", b"said", chunk_bytes=CHUNK)
    worker.finish()
    task = await stage.ended(task_id)
    part = await stage.store.read_log(task_id, 1, 0, "stdout", offset=0, limit=CHUNK)
    assert part.data == b"said"
    assert "system_logs" not in task.logs[0]


async def test_what_ran_stays_listed_when_pulsar_refuses_after_a_restart(stage: Stage) -> None:
    task_id = await stage.submit()
    worker = await stage.worker(task_id)
    worker.start()
    worker.run_executor()

    async def listed() -> bool:
        task = await stage.store.get(task_id)
        return bool(task.logs and task.logs[0]["logs"])

    await until_true(listed)
    await stage.scheduler.stop()
    stage.pulsar.fail_next("read_file", PulsarRefused("a new token"))
    stage.scheduler = stage.new_scheduler()
    await stage.scheduler.start()
    task = await stage.ended(task_id)
    assert task.state is State.SYSTEM_ERROR
    assert [entry["exit_code"] for entry in task.logs[0]["logs"]] == [0]


async def test_the_order_holds_the_task_and_the_rules_of_the_site(stage: Stage) -> None:
    task_id = await stage.submit(volumes=["/work"])
    worker = await stage.worker(task_id)
    order = json.loads(stage.pulsar.jobs[worker.job_id].order.task_json)
    assert (order["task_id"], order["attempt"], order["job_id"]) == (task_id, 1, f"{task_id}-1")
    assert order["volumes"] == ["/work"]
    assert order["site"]["log_chunk_bytes"] == CHUNK
    assert order["site"]["runtimes"] == ["docker", "podman", "apptainer", "singularity"]
    worker.finish()
    await stage.ended(task_id)
