"""Tasks that wait for a place: what their histories say, and what a cancel, a failure or a restart does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.bell import Bell
from tesp_api.errors import PulsarUnavailable
from tesp_api.runner import health, scheduler, waiting
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.scheduler import Scheduler
from tesp_api.settings import Settings
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.tes.states import FINAL, State
from tests.factories import make_task
from tests.fakes.lender import LendsNothing
from tests.fakes.pulsar import FakePulsar
from tests.fakes.site import FakeWorker
from tests.unit.runner.attempts import running
from tests.unit.runner.test_scheduler import until, until_true

SETTINGS = Settings.model_validate(
    {
        "destinations": {
            "here": {"max_running": 2, "max_cores": 4},
            "there": {"kind": "rest", "url": "http://127.0.0.1:1", "max_running": 1, "max_cores": 2},
        },
        "scheduler": {"scan_s": 0.05, "poll_min_s": 0.005, "poll_max_s": 0.05, "lease_s": 2},
    }
)


class Stage:
    """A store, two fake Pulsars, and a scheduler."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteTaskStore(folder)
        self.sites = {name: FakePulsar(name) for name in SETTINGS.destinations}
        self.bell = Bell()
        self.scheduler = self.new_scheduler()

    def new_scheduler(self, settings: Settings = SETTINGS) -> Scheduler:
        return Scheduler(self.store, self.sites, settings, self.bell, LendsNothing(), Gateway(settings))

    async def submit(self, to: str | None = None, *, owner: str = "", **resources: Any) -> str:
        if to:
            resources["backend_parameters"] = {"destination": to}
        task = make_task(owner=owner, resources=resources)
        await self.store.create(task)
        self.bell.ring(task.id)
        return task.id

    def is_away(self, site: str, checks: int) -> None:
        for _ in range(checks):
            self.sites[site].fail_next("check", PulsarUnavailable("away"))

    async def at(self, task_id: str, site: str, attempt: int = 1) -> FakeWorker:
        job_id = f"{task_id}-{attempt}"
        await until(lambda: job_id in self.sites[site].jobs)
        return FakeWorker(self.sites[site], job_id)

    async def finish(self, task_id: str, site: str) -> None:
        worker = await self.at(task_id, site)
        worker.start()
        worker.finish()
        await self.over(task_id)

    async def over(self, task_id: str) -> State:
        async def is_over() -> bool:
            task = await self.store.get(task_id)
            return task.state in FINAL and not task.live

        await until_true(is_over)
        return await self.store.get_state(task_id)

    async def reasons(self, task_id: str) -> list[str]:
        return [entry.reason for entry in await self.store.history(task_id)]

    async def says(self, task_id: str, reason: str) -> None:
        async def said() -> bool:
            return reason in await self.reasons(task_id)

        await until_true(said)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(waiting, "TELL_MIN_S", 0.05)
    monkeypatch.setattr(waiting, "TELL_MAX_S", 0.1)
    monkeypatch.setattr(waiting, "_PAUSE_S", 0.01)
    monkeypatch.setattr(health, "PROBE_MIN_S", 0.05)
    stage = Stage(tmp_path)
    await stage.store.open()
    await stage.scheduler.start()
    yield stage
    await stage.scheduler.stop()
    await stage.store.aclose()


async def test_the_history_says_why_a_destination_was_chosen(stage: Stage) -> None:
    task_id = await stage.submit(cpu_cores=3)
    await stage.at(task_id, "here")
    assert (await stage.reasons(task_id))[-1] == (
        f"attempt 1 goes to here as job {task_id}-1 "
        "(there cannot take it: cpu_cores: 3 is more than the 2 that one task can have there)"
    )


async def test_a_task_that_waits_says_once_for_what_and_then_goes(stage: Stage) -> None:
    first = await stage.submit("there")
    await stage.at(first, "there")
    second = await stage.submit("there")
    await stage.says(second, "waits: there: all 1 places are taken")
    await stage.finish(first, "there")
    await stage.finish(second, "there")
    reasons = await stage.reasons(second)
    assert sum(reason.startswith("waits:") for reason in reasons) == 1
    assert f"attempt 1 goes to there as job {second}-1 (the task names it)" in reasons


async def test_a_change_of_the_reason_is_told(stage: Stage) -> None:
    small = await stage.submit("here", cpu_cores=2)
    await stage.at(small, "here")
    large = await stage.submit("here", cpu_cores=4)
    await stage.says(large, "waits: here: 4 of its 4 cores must become free")
    another = await stage.submit("here", cpu_cores=2)
    await stage.at(another, "here")  # past the large one
    await stage.says(large, "waits: here: all 2 places are taken")


async def test_a_large_task_that_waits_blocks_nobody(stage: Stage) -> None:
    running = await stage.submit("here", cpu_cores=1)
    await stage.at(running, "here")
    large = await stage.submit(cpu_cores=4)
    small = [await stage.submit() for _ in range(2)]
    await until(lambda: sum(len(site.jobs) for site in stage.sites.values()) == 3)
    assert all(not stage.sites[name].jobs.keys() & {f"{large}-1"} for name in stage.sites)
    for task_id in (running, *small):
        await stage.finish(task_id, next(n for n, s in stage.sites.items() if f"{task_id}-1" in s.jobs))
    await stage.finish(large, "here")


async def test_a_task_is_canceled_while_it_waits(stage: Stage) -> None:
    await stage.at(await stage.submit("there"), "there")
    waits = await stage.submit("there")
    await stage.says(waits, "waits: there: all 1 places are taken")
    await stage.store.request_cancel(waits, "asked for")
    stage.bell.ring(waits)
    assert await stage.over(waits) is State.CANCELED
    assert f"{waits}-1" not in stage.sites["there"].jobs


async def test_a_cancel_that_nobody_rang_for_reaches_a_task_that_waits(stage: Stage) -> None:
    await stage.at(await stage.submit("there"), "there")
    waits = await stage.submit("there")
    await stage.says(waits, "waits: there: all 1 places are taken")
    await stage.store.request_cancel(waits, "asked for at another server")
    assert await stage.over(waits) is State.CANCELED


async def test_tasks_go_to_the_destination_that_answers(stage: Stage) -> None:
    stage.is_away("here", 30)
    task_id = await stage.submit()
    await stage.at(task_id, "there")
    assert "here: its Pulsar does not answer" in (await stage.reasons(task_id))[-1]
    assert (await stage.store.get(task_id)).attempt == 1


async def test_a_task_that_waits_for_a_pulsar_says_so_and_goes_when_it_answers(stage: Stage) -> None:
    stage.is_away("there", 5)
    task_id = await stage.submit("there")
    await stage.says(task_id, "waits: there: its Pulsar does not answer")
    await stage.finish(task_id, "there")


async def test_tasks_at_a_destination_go_on_while_it_takes_no_new_ones(stage: Stage) -> None:
    running = await stage.submit("there")
    worker = await stage.at(running, "there")
    for _ in range(3):
        stage.sites["there"].fail_next("check", PulsarUnavailable("away"))
        with pytest.raises(PulsarUnavailable):
            await stage.scheduler.health.check("there")
    assert stage.scheduler.health.closed_destinations()
    worker.start()
    worker.finish()
    assert await stage.over(running) is State.COMPLETE


async def test_a_task_that_is_left_to_other_servers_waits_for_what_this_one_lacks(tmp_path: Path) -> None:
    """Who shares a database takes no more than there is room for, so that its history cannot say it."""
    async with running(tmp_path, {"near": {"max_running": 1}}, store={"url": "mongodb://db"}) as sites:
        assert sites.scheduler is not None
        first = await sites.worker(await sites.submit())
        task = await sites.store.get(await sites.submit())
        assert task.claim is None
        waits_for = sites.scheduler.waits_for(task.request, task.owner, False)
        assert waits_for == "near: all 1 places are taken"
        first.finish()
        await sites.worker(task.id)


async def test_more_tasks_than_are_claimed_at_once_all_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_BATCH", 2)
    blocked = [await stage.submit("there") for _ in range(7)]
    free = await stage.submit("here")
    await stage.finish(free, "here")  # past those that wait
    for task_id in blocked:
        await stage.finish(task_id, "there")


async def test_those_held_are_bounded(stage: Stage) -> None:
    await stage.scheduler.stop()
    settings = SETTINGS.model_copy(
        update={"scheduler": SETTINGS.scheduler.model_copy(update={"waiting_max": 3})}
    )
    stage.scheduler = stage.new_scheduler(settings)
    await stage.scheduler.start()
    first = [await stage.submit("there") for _ in range(4)]
    await stage.says(first[3], "waits: there: all 1 places are taken")
    late = [await stage.submit("there") for _ in range(3)]
    assert [(await stage.store.get(task_id)).claim for task_id in late] == [None] * 3
    for task_id in (*first, *late):
        await stage.finish(task_id, "there")


async def test_waiting_goes_on_after_a_restart(stage: Stage) -> None:
    running, waits = await stage.submit("there"), await stage.submit("there")
    await stage.at(running, "there")
    await stage.says(waits, "waits: there: all 1 places are taken")
    await stage.scheduler.stop()
    stage.scheduler = stage.new_scheduler()
    await stage.scheduler.start()
    await stage.finish(running, "there")
    await stage.finish(waits, "there")


async def test_what_no_destination_takes_any_more_ends_and_says_why(stage: Stage) -> None:
    task_id = await stage.submit(cpu_cores=5)
    assert await stage.over(task_id) is State.SYSTEM_ERROR
    reason = (await stage.reasons(task_id))[-1]
    assert reason.startswith("no destination can ever take this task: here: cpu_cores: 5 is more than the 4")


async def test_the_history_says_once_that_users_who_use_less_come_first(stage: Stage) -> None:
    first = await stage.submit("there", owner="alice")
    await stage.at(first, "there")
    of_alice = await stage.submit("there", owner="alice")
    await stage.says(of_alice, "waits: there: all 1 places are taken")
    of_bob = await stage.submit("there", owner="bob")
    later = "waits: there: all 1 places are taken; tasks of users who use less come first"
    await stage.says(of_alice, later)
    await stage.finish(first, "there")
    await stage.finish(of_bob, "there")
    await stage.finish(of_alice, "there")
    assert sum(reason.startswith("waits: ") for reason in await stage.reasons(of_alice)) == 2
    assert later not in await stage.reasons(of_bob)


async def test_tasks_of_one_user_that_fill_the_waiting_room_do_not_keep_another_out(tmp_path: Path) -> None:
    """They wait for a destination that is away; nobody else's need to."""
    crowded = SETTINGS.scheduler.model_copy(update={"waiting_max": 3})
    stage = Stage(tmp_path)
    stage.scheduler = stage.new_scheduler(SETTINGS.model_copy(update={"scheduler": crowded}))
    await stage.store.open()
    stage.is_away("there", 1000)
    await stage.scheduler.start()
    try:
        stuck = [await stage.submit("there", owner="alice") for _ in range(5)]
        await until(lambda: stage.scheduler._places.waiting_count == 3)
        await stage.finish(await stage.submit(owner="bob"), "here")
        assert stage.scheduler._places.waiting_count == 3
        assert [await stage.store.get_state(task_id) for task_id in stuck] == [State.QUEUED] * 5
    finally:
        await stage.scheduler.stop()
        await stage.store.aclose()


async def test_with_many_users_few_tasks_of_each_are_held_and_one_of_everybody(tmp_path: Path) -> None:
    crowded = SETTINGS.scheduler.model_copy(update={"waiting_max": 40})
    stage = Stage(tmp_path)
    stage.scheduler = stage.new_scheduler(SETTINGS.model_copy(update={"scheduler": crowded}))
    await stage.store.open()
    stage.is_away("there", 1000)
    await stage.scheduler.start()
    try:
        for number in range(200):
            await stage.submit("there", owner=f"user {number % 100}")
        await until(lambda: len(stage.scheduler._places.waiting_by_owner()) == 100)
        await stage.finish(await stage.submit(owner="bob"), "here")
        assert stage.scheduler._places.waiting_count <= 2 * 40 + 100
    finally:
        await stage.scheduler.stop()
        await stage.store.aclose()
