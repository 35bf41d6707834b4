"""How runs are driven: each step a task, whatever dies; cancel, resumption, removal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tesp_api.errors import (
    EngineDied,
    EngineUnusable,
    InvalidRequest,
    LimitReached,
    NothingStored,
    RunInUse,
    RunNotFound,
    StorageUnavailable,
    StoreUnavailable,
    TaskInUse,
    TaskNotFound,
)
from tesp_api.runner.retention import Retention
from tesp_api.runner.routing import Routing
from tesp_api.settings import Settings
from tesp_api.store.runs import Run, RunQuery
from tesp_api.tes.states import FINAL, State
from tesp_api.wes import conductor
from tests.fakes.workshop import Workshop, eventually


def step(name: str, command: str = "true", **more: Any) -> dict[str, Any]:
    return {"name": name, "command": [command], **more}


TWO = [
    step("a", outputs={"/o/x": "a/x"}),
    step("b", after=["a"], inputs={"/i/x": "a/x"}, outputs={"/o/y": "b/y"}),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    timing = {"lease_s": 1.5, "scan_s": 0.1}
    limits = {"live_max": 5, "running_max": 3}
    return Settings.model_validate({"data_dir": str(tmp_path), "scheduler": timing, "wes": limits})


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[Workshop]:
    async with Workshop(settings) as opened:
        yield opened


async def test_each_step_is_a_task(shop: Workshop) -> None:
    run_id = await shop.submit(TWO, {"result": "b/y"}, owner="alice")
    run = await shop.ended_run(run_id)
    assert (run.state, run.exit_code) == (State.COMPLETE, 0)
    assert run.outputs["result"]["location"] == f"{run.work_url}b/y"
    assert run.started_at is not None
    assert run.ended_at is not None
    steps = await shop.steps(run_id)
    assert list(steps) == ["a", "b"]
    task = await shop.store.get(steps["b"].task_id)
    assert (task.owner, task.state) == ("alice", State.COMPLETE)
    assert task.request["tags"] == {"wes.run_id": run_id, "wes.step": "b"}
    assert task.request["inputs"][0]["url"] == f"{run.work_url}a/x"
    assert task.warnings[0] == f"step b of workflow run {run_id}"
    assert await shop.log(run_id) == "expanding w.json\na: COMPLETE\nb: COMPLETE\n"

    async def is_tidy() -> bool:
        return not (shop.settings.data_dir / "wes/runs" / run_id).exists()

    await eventually(is_tidy)


async def test_runs_are_claimed_though_those_that_wait_cannot_be_told_why(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def fail(faults: object, own: object) -> None:
        asked.append(faults)
        raise ValueError("a row that nobody understands")

    monkeypatch.setattr(shop.conductor._waiting, "tell", fail)
    shop.conductor._tell_at = 0.0
    assert (await shop.ended_run(await shop.submit([step("a")]))).state is State.COMPLETE
    assert len(asked) == 1, "it is tried now and then, not at each look"


async def test_a_failed_step_fails_the_run(shop: Workshop) -> None:
    run = await shop.ended_run(await shop.submit([step("a"), step("b", "false", after=["a"])]))
    assert (run.state, run.exit_code) == (State.EXECUTOR_ERROR, 1)
    assert run.system_logs[-1].startswith("step b ended EXECUTOR_ERROR (task ")


async def test_outputs_that_cannot_be_told_fail_the_run(shop: Workshop) -> None:
    run = await shop.ended_run(await shop.submit(TWO, {"odd\ud800": "b/y"}))
    assert (run.state, run.outputs) == (State.SYSTEM_ERROR, {})
    assert run.system_logs[-1].startswith("the outputs of the workflow cannot be told as JSON: ")


async def test_a_step_that_is_no_task_fails_the_run(shop: Workshop) -> None:
    run = await shop.ended_run(await shop.submit([step("a", outputs={"not/absolute": "x"})]))
    assert run.state is State.SYSTEM_ERROR
    assert run.system_logs[-1].startswith("a step cannot run here: outputs[0].path: ")
    assert await shop.steps(run.id) == {}
    assert shop.engine.expansions[run.id] == 1


async def test_a_run_has_no_more_steps_than_it_may(settings: Settings) -> None:
    few = settings.model_copy(update={"wes": settings.wes.model_copy(update={"steps_max": 3})})
    async with Workshop(few) as shop:
        assert (await shop.ended_run(await shop.submit([step("s", scatter=3)]))).state is State.COMPLETE
        run = await shop.ended_run(await shop.submit([step("s", scatter=4)]))
        assert run.state is State.SYSTEM_ERROR
        assert "as many as it may have (wes.steps_max)" in run.system_logs[-1]
        assert len(await shop.steps(run.id)) == 3


async def test_a_step_that_has_its_task_is_not_checked_anew(settings: Settings) -> None:
    """What would be refused now was admitted once: it is found, and what follows is checked."""
    async with Workshop(settings) as first:
        run_id = await first.submit([step("done"), step("going", "hang", after=["done"])])
        await first.until_begun(2)
    again = Workshop(settings)
    again.engine.image = ""
    async with again as second:
        await eventually(lambda: asyncio.sleep(0, second.engine.expansions))
        second.player.go()
        assert (await second.ended_run(run_id)).state is State.COMPLETE
        refused = await second.ended_run(await second.submit([step("new")]))
        assert "executors[0].image" in refused.system_logs[-1]


async def test_an_engine_that_raises_is_tried_again(shop: Workshop) -> None:
    shop.engine.raises = [RuntimeError("once"), RuntimeError("twice")]
    run = await shop.ended_run(await shop.submit(TWO))
    assert run.state is State.COMPLETE
    assert shop.engine.expansions[run.id] == 3


async def test_an_engine_that_always_raises_ends_the_run(shop: Workshop) -> None:
    shop.engine.raises = [RuntimeError("oh no")] * 9
    run = await shop.ended_run(await shop.submit(TWO))
    assert run.state is State.SYSTEM_ERROR
    assert "the workflow engine script failed: RuntimeError: oh no" in run.system_logs[-1]


async def test_an_engine_that_dies_is_called_as_long_as_it_gets_on(shop: Workshop) -> None:
    """It dies after each step that is new; then it does not get on, and that is the end."""
    names = [f"s{number}" for number in range(8)]
    shop.engine.died_at = set()
    chain = [step(name, after=names[:number]) for number, name in enumerate(names)]
    run = await shop.ended_run(run_id := await shop.submit(chain))
    assert run.state is State.COMPLETE, run.system_logs
    assert shop.engine.expansions[run_id] == 9
    assert shop.player.begun == names
    shop.engine.died_at = None
    shop.engine.raises = [EngineDied("killed")] * 3
    run = await shop.ended_run(await shop.submit(TWO))
    assert (run.state, run.system_logs[-1]) == (
        State.SYSTEM_ERROR,
        "the workflow engine script failed: killed",
    )


async def test_an_engine_may_not_die_for_ever(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if there is one more step each time; what happened before a restart counts."""
    monkeypatch.setattr(conductor, "_DEATHS_MAX", 4)
    names = ["a", "b", "c"]
    chain = [step(name, "hang" if name == "c" else "true", after=names[:n]) for n, name in enumerate(names)]
    async with Workshop(settings) as first:
        first.engine.died_at = set()
        run_id = await first.submit(chain)
        await first.until_begun(3)
        await eventually(lambda: asyncio.sleep(0, first.engine.expansions[run_id] == 4))
    again = Workshop(settings)
    again.engine.died_at = set()
    async with again as second:
        run = await second.ended_run(run_id)
        assert second.engine.expansions[run_id] == 1
        assert run.state is State.SYSTEM_ERROR
        assert run.system_logs[-1] == "the workflow engine script failed: killed at a"
        assert "the workflow engine failed, and is called again: killed at c" in run.system_logs


async def test_runs_wait_for_an_engine_that_was_removed(settings: Settings) -> None:
    async with Workshop(settings) as first:
        begun = await first.submit([step("done"), step("going", "hang", after=["done"])])
        await first.until_begun(2)
        await first.conductor.stop()
        new = await first.submit(TWO)
        canceled = await first.submit(TWO)
    removed = Workshop(settings)
    removed.engine.installed = None
    async with removed as second:
        for run_id in (begun, new):

            async def is_told(run_id: str = run_id) -> bool:
                return "the run waits: " in str((await second.runs.get(run_id)).system_logs)

            await eventually(is_told)
        await second.runs.request_cancel(canceled, "by its owner")
        assert (await second.ended_run(canceled)).state is State.CANCELED
        await second.has_looked()
        assert (await second.runs.get(new)).state is State.QUEUED
        assert (await second.runs.get(begun)).state is State.RUNNING
        second.engine.installed = "1.1"
        second.player.go()
        for run_id in (begun, new):
            run = await second.ended_run(run_id)
            assert run.state is State.COMPLETE
            waits = [line for line in run.system_logs if line.startswith("the run waits: ")]
            assert waits == ["the run waits: the engine script is not installed on this server"]
        assert second.player.begun == ["a", "b"]


async def test_a_run_that_waits_says_so_beside_one_that_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this server drives of that engine, it began before."""
    monkeypatch.setattr(conductor, "_TELL_EVERY_S", 0.0)
    async with Workshop(settings) as shop:
        begun = await shop.submit([step("going", "hang")])
        await shop.until_begun(1)
        shop.engine.installed = None
        await shop.has_looked()
        new = await shop.submit(TWO)
        await shop.until_told(new, "the run waits: ")
        assert (await shop.runs.get(begun)).state is State.RUNNING
        shop.player.go()


async def test_a_run_waits_for_an_engine_that_is_removed_under_way(shop: Workshop) -> None:
    shop.engine.raises = [EngineUnusable("there is no sandbox")]
    run = await shop.ended_run(await shop.submit(TWO))
    assert run.state is State.COMPLETE
    assert run.system_logs[-1] == "the run waits: there is no sandbox"


async def test_a_cancel_reaches_every_task(shop: Workshop) -> None:
    run_id = await shop.submit([step("s", "hang", scatter=8)])
    await shop.until_begun(8)
    began = asyncio.get_running_loop().time()
    await shop.runs.request_cancel(run_id, "canceled by alice")
    shop.run_bell.ring(run_id)
    run = await shop.ended_run(run_id)
    assert asyncio.get_running_loop().time() - began < 5
    assert run.state is State.CANCELED
    assert "canceled by alice" in run.system_logs
    for one in (await shop.steps(run_id)).values():
        assert (await shop.store.get_state(one.task_id)) is State.CANCELED


async def test_a_cancel_without_a_ring_is_seen(shop: Workshop) -> None:
    run_id = await shop.submit([step("s", "hang")])
    await shop.until_begun(1)
    await shop.runs.request_cancel(run_id, "canceled elsewhere")
    assert (await shop.ended_run(run_id)).state is State.CANCELED


async def test_a_run_that_waits_is_canceled_at_once(shop: Workshop) -> None:
    busy = [await shop.submit([step("s", "hang")]) for _ in range(3)]
    waiting = await shop.submit([step("never")])
    await shop.until_begun(3)
    await shop.has_looked()
    assert (await shop.runs.get(waiting)).state is State.QUEUED
    await shop.runs.request_cancel(waiting, "why")
    assert (await shop.ended_run(waiting)).state is State.CANCELED
    shop.player.go()
    for run_id in busy:
        assert (await shop.ended_run(run_id)).state is State.COMPLETE
    assert shop.player.begun == ["s"] * 3


async def test_runs_of_one_user_are_limited(shop: Workshop) -> None:
    for _ in range(5):
        await shop.submit([step("s", "hang")])
    with pytest.raises(LimitReached, match="5 runs of yours have not ended"):
        await shop.submit(TWO)
    assert await shop.submit(TWO, owner="bob")


async def test_a_restart_repeats_no_step(settings: Settings) -> None:
    steps = [step("done"), step("going", "hang", scatter=3), step("last", after=["going"])]
    async with Workshop(settings) as first:
        run_id = await first.submit(steps)
        await first.until_begun(4)
        before = await first.steps(run_id)
    async with Workshop(settings) as second:
        await eventually(lambda: asyncio.sleep(0, second.engine.expansions))
        second.player.go()
        run = await second.ended_run(run_id)
        assert run.state is State.COMPLETE
        assert second.player.begun == ["last"]
        after = await second.steps(run_id)
        assert {name: after[name] for name in before} == before
        assert len(after) == 5


def moved(settings: Settings, work_url: str) -> Settings:
    return settings.model_copy(update={"wes": settings.wes.model_copy(update={"work_url": work_url})})


@pytest.mark.parametrize("place", ["s3://lab/runs/", "elsewhere"])
async def test_a_run_whose_files_are_elsewhere_now_waits(settings: Settings, place: str) -> None:
    async with Workshop(settings) as first:
        ended = await first.ended_run(await first.submit(TWO))
        run_id = await first.submit([step("going", "hang"), step("last", after=["going"])])
        await first.until_begun(3)
        canceled = await first.submit([step("other", "hang")])
        await first.until_begun(4)
        await first.conductor.stop()
        new = await first.submit(TWO)
    place = place if "://" in place else str(settings.data_dir / place)
    async with Workshop(moved(settings, place)) as second:
        for one in (run_id, new):
            run = await second.until_told(one, "the run waits: the files of run ")
            assert run.work_url in run.system_logs[-1]
            assert "wes.work_url" in run.system_logs[-1]
        await second.runs.request_cancel(canceled, "by its owner")
        await second.runs.doom(ended.id)
        assert (await second.ended_run(canceled)).state is State.CANCELED
        here = await second.runs.list_to_do(limit=9)
        assert {(one.id, one.state, one.is_claimed) for one in here} == {
            (ended.id, State.COMPLETE, False),
            (run_id, State.RUNNING, False),
            (new, State.QUEUED, False),
        }
        assert second.engine.expansions == {}
    async with Workshop(settings) as third:
        third.player.go()
        for one in (run_id, new):
            run = await third.ended_run(one)
            assert run.state is State.COMPLETE
            assert len([line for line in run.system_logs if line.startswith("the run waits: ")]) == 1
        assert sorted(third.player.begun) == ["a", "b", "last"]

        async def is_gone() -> bool:
            return not (settings.data_dir / "wes/work" / ended.id).exists()

        await eventually(is_gone)


async def test_files_that_were_in_s3_are_looked_for_nowhere_else(settings: Settings) -> None:
    async with Workshop(settings) as shop:
        for url in ("s3://lab/runs/r/", "https://a.org/x", "file:///", settings.data_dir.as_uri()):
            with pytest.raises(StorageUnavailable, match="not in the folder of workflow runs"):
                shop.files.local(url)


async def test_an_end_that_was_stored_is_the_end(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's answer gets lost: nothing is expanded anew."""
    transition = shop.runs.transition

    async def lost(run_id: str, to: State, **more: Any) -> Run:
        moved = await transition(run_id, to, **more)
        if to is State.COMPLETE:
            raise StoreUnavailable("the answer was lost")
        return moved

    monkeypatch.setattr(shop.runs, "transition", lost)
    run = await shop.ended_run(run_id := await shop.submit(TWO))
    assert run.state is State.COMPLETE
    await eventually(lambda: asyncio.sleep(0, not shop.conductor._driven))
    assert shop.engine.expansions[run_id] == 1


async def test_a_run_says_what_it_waits_for(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shop.settings.data_dir / "wes/runs"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    run_id = await shop.submit(TWO)
    run = await shop.until_told(run_id, "the run waits: the folder of run ")
    assert run.state is State.INITIALIZING
    folder.unlink()
    run = await shop.ended_run(run_id)
    assert run.state is State.COMPLETE
    assert len([line for line in run.system_logs if line.startswith("the run waits: ")]) == 1


async def test_a_cancel_does_not_wait_for_attachments(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = asyncio.Event()

    async def hangs(*_: object) -> Any:
        began.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(shop.conductor._folders, "prepare", hangs)
    run_id = await shop.submit(TWO)
    await began.wait()
    await shop.runs.request_cancel(run_id, "why")
    shop.run_bell.ring(run_id)
    assert (await shop.ended_run(run_id)).state is State.CANCELED


async def test_a_cancel_ends_a_pause(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> Any:
        raise StorageUnavailable("the bucket does not answer")

    monkeypatch.setattr("tesp_api.wes.conductor._RETRY_MIN_S", 3600.0)
    monkeypatch.setattr("tesp_api.wes.conductor._RETRY_MAX_S", 3600.0)
    monkeypatch.setattr(shop.conductor._folders, "prepare", away)
    run_id = await shop.submit(TWO)
    await shop.until_told(run_id, "the run waits: the bucket")
    await shop.runs.request_cancel(run_id, "why")
    assert (await shop.ended_run(run_id)).state is State.CANCELED


async def test_a_finished_step_is_kept_until_its_run_has_ended(settings: Settings) -> None:
    steps = [step("done"), step("going", "hang", after=["done"])]
    async with Workshop(settings) as first:
        run_id = await first.submit(steps)
        await first.until_begun(2)
        done = (await first.steps(run_id))["done"].task_id
        await asyncio.sleep(0.05)
        await Retention(first.store, 0.01, runs=first.runs).sweep()
        with pytest.raises(TaskInUse, match=run_id):
            await first.store.delete(done)
    async with Workshop(settings) as second:
        await eventually(lambda: second.steps(run_id))
        second.player.go()
        assert (await second.ended_run(run_id)).state is State.COMPLETE
        assert second.player.begun == []
        await second.store.delete(done)


async def test_a_step_that_was_canceled_is_not_made_anew(settings: Settings) -> None:
    async with Workshop(settings, plays=False) as first:
        run_id = await first.submit([step("a")])
        await first.until(run_id, {State.RUNNING})
        steps = await eventually(lambda: first.steps(run_id))

        async def canceled() -> bool:
            try:
                return bool(await first.store.request_cancel(steps["a"].task_id, "by its owner"))
            except TaskNotFound:  # a moment later
                return False

        await eventually(canceled)
    async with Workshop(settings) as second:
        run = await second.ended_run(run_id)
        assert run.state is State.SYSTEM_ERROR
        assert second.player.begun == []
        assert list(await second.steps(run_id)) == ["a"]


async def test_a_step_that_was_written_down_before_a_crash_is_made_then(settings: Settings) -> None:
    async with Workshop(settings, plays=False) as first:
        first.parts.creation.create_step = _dies  # type: ignore[method-assign]
        run_id = await first.submit([step("a")])
        steps = await eventually(lambda: first.steps(run_id))
    async with Workshop(settings) as second:
        assert (await second.ended_run(run_id)).state is State.COMPLETE
        assert await second.steps(run_id) == steps
        assert second.player.begun == ["a"]


async def _dies(*_: object, **__: object) -> None:
    """As a process that ends between writing a step down and making its task."""
    raise StoreUnavailable("gone")


@pytest.mark.parametrize(("error", "is_kept"), [(NothingStored, False), (StoreUnavailable, True)])
async def test_attachments_stay_where_the_run_may_be_stored(
    error: type[Exception], is_kept: bool, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def create(*_: object, **__: object) -> str:
        raise error("not now")

    monkeypatch.setattr(shop.runs, "create", create)
    with pytest.raises(error):
        await shop.submit(TWO)
    assert bool(list((shop.settings.data_dir / "wes/work").glob("*"))) is is_kept


async def test_another_attempt_is_taken_over(shop: Workshop) -> None:
    first = await shop.ended_run(
        await shop.submit([step("a") | {"command": ["true", "2"]}, step("b", "false")])
    )
    assert first.state is State.EXECUTOR_ERROR
    shop.player.begun.clear()
    mended = [step("a", later=[["true", "3"], ["true", "2"]]), step("b")]
    run_id = await shop.submit(mended, parameters={"resume": first.id})
    assert (await shop.ended_run(run_id)).state is State.COMPLETE
    assert shop.player.begun == ["b"]


async def test_finished_steps_are_taken_over(shop: Workshop) -> None:
    steps = [step("a", outputs={"/o/x": "a/x"}), step("b", "false", after=["a"], inputs={"/i/x": "a/x"})]
    failed = await shop.ended_run(await shop.submit(steps))
    assert failed.state is State.EXECUTOR_ERROR
    shop.player.begun.clear()
    mended = [steps[0], steps[1] | {"command": ["true"], "outputs": {"/o/y": "b/y"}}]
    resumed = await shop.ended_run(
        await shop.submit(mended, {"x": "a/x", "y": "b/y"}, parameters={"resume": failed.id})
    )
    assert resumed.state is State.COMPLETE
    assert shop.player.begun == ["b"]
    assert resumed.outputs["x"]["location"] == f"{failed.work_url}a/x"
    assert resumed.outputs["y"]["location"] == f"{resumed.work_url}b/y"
    before, after = await shop.steps(failed.id), await shop.steps(resumed.id)
    assert (after["a"].task_id, after["a"].reused_from) == (before["a"].task_id, failed.id)
    assert f"a: taken over from run {failed.id}" in await shop.log(resumed.id)
    with pytest.raises(RunInUse, match=resumed.id):
        await shop.runs.doom(failed.id)
    again = await shop.ended_run(await shop.submit(mended, parameters={"resume": resumed.id}))
    assert (await shop.steps(again.id))["a"].reused_from == failed.id
    assert shop.player.begun == ["b"]


@pytest.mark.parametrize(("codes", "again"), [([0, 2], ["a"]), ([0, 3], [])])
async def test_a_failure_that_its_task_ignored_is_not_taken_over(
    codes: list[int], again: list[str], shop: Workshop
) -> None:
    steps = [step("a", "ignored", success_codes=codes)]
    first = await shop.ended_run(await shop.submit(steps))
    task = await shop.store.get((await shop.steps(first.id))["a"].task_id)
    assert task.state is State.COMPLETE
    shop.player.begun.clear()
    await shop.ended_run(await shop.submit(steps, parameters={"resume": first.id}))
    assert shop.player.begun == again


async def test_a_step_whose_task_was_deleted_runs_again(shop: Workshop) -> None:
    first = await shop.ended_run(await shop.submit(TWO))
    await shop.store.delete((await shop.steps(first.id))["a"].task_id)
    shop.player.begun.clear()
    await shop.ended_run(await shop.submit(TWO, parameters={"resume": first.id}))
    assert shop.player.begun == ["a"]


async def test_only_what_has_ended_is_resumed(shop: Workshop) -> None:
    running = await shop.submit([step("s", "hang")])
    for run_id, said in ((running, "wait for its end"), ("no-such-run", "there is no run")):
        with pytest.raises(InvalidRequest, match=said):
            await shop.submit(TWO, parameters={"resume": run_id})


async def test_an_earlier_runs_output_is_an_input(shop: Workshop) -> None:
    earlier = await shop.ended_run(await shop.submit(TWO, {"result": "b/y"}))
    params = {"x": {"class": "File", "location": f"run://{earlier.id}/result"}}
    later = await shop.ended_run(await shop.submit([step("c", inputs={"/i": "$x"})], params=params))
    assert later.state is State.COMPLETE
    task = await shop.store.get((await shop.steps(later.id))["c"].task_id)
    assert task.request["inputs"][0]["url"] == f"{earlier.work_url}b/y"
    assert later.request["workflow_params"] == params


async def test_a_run_whose_input_goes_meanwhile_is_refused(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = await shop.ended_run(await shop.submit(TWO, {"result": "b/y"}))
    put = shop.files.put

    async def put_late(url: str, file: BinaryIO, *, owner: str) -> None:
        await put(url, file, owner=owner)
        with contextlib.suppress(RunNotFound):
            await shop.runs.doom(earlier.id)

    monkeypatch.setattr(shop.files, "put", put_late)
    params = {"x": {"class": "File", "location": f"run://{earlier.id}/result"}}
    with pytest.raises(InvalidRequest, match=rf"workflow_params.*no run '{earlier.id}'"):
        await shop.submit([step("c", inputs={"/i": "$x"})], params=params, attached={"data": b"x"})
    assert (await shop.runs.list_runs(RunQuery())).items == []
    shop.run_bell.ring(earlier.id)

    async def is_empty() -> bool:
        return not list((shop.settings.data_dir / "wes/work").iterdir())

    await eventually(is_empty)


async def test_attachments_of_a_run_that_cannot_be_stored_go(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = shop.files.put

    async def put_one(url: str, file: BinaryIO, *, owner: str) -> None:
        if url.endswith("data"):
            raise FileNotFoundError("no such bucket")
        await put(url, file, owner=owner)

    monkeypatch.setattr(shop.files, "put", put_one)
    with pytest.raises(FileNotFoundError):
        await shop.submit(TWO, attached={"data": b"x"})
    assert list((shop.settings.data_dir / "wes/work").iterdir()) == []


async def test_others_folders_stay_closed_to_steps(shop: Workshop) -> None:
    other = await shop.ended_run(await shop.submit(TWO))
    params = {"x": f"{other.work_url}b/y"}
    run = await shop.ended_run(await shop.submit([step("c", inputs={"/i": "$x"})], params=params))
    assert run.state is State.SYSTEM_ERROR
    assert "inputs[0].url" in run.system_logs[-1]


async def test_a_deleted_run_leaves_nothing(shop: Workshop) -> None:
    run = await shop.ended_run(await shop.submit(TWO, attached={"sub/data": b"x"}))
    task_ids = [one.task_id for one in (await shop.steps(run.id)).values()]
    folder = shop.settings.data_dir / "wes/work" / run.id
    assert (folder / "attachments/sub/data").read_bytes() == b"x"
    await shop.runs.doom(run.id)
    shop.run_bell.ring(run.id)

    async def is_gone() -> bool:
        return not folder.exists() and not await shop.runs.list_steps(run.id, limit=1)

    await eventually(is_gone)
    for task_id in task_ids:
        with pytest.raises(TaskNotFound):
            await shop.store.get_state(task_id)
    with pytest.raises(RunNotFound):
        await shop.runs.get(run.id)


async def test_a_task_that_is_deleted_under_way_does_not_hang_the_run(shop: Workshop) -> None:
    run_id = await shop.submit([step("s", "hang")])
    await shop.until_begun(1)
    task_id = (await shop.steps(run_id))["s"].task_id
    await shop.store.request_cancel(task_id, "by its owner")
    assert (await shop.ended_run(run_id)).state is State.SYSTEM_ERROR
    assert await shop.store.get_state(task_id) in FINAL


async def test_a_run_that_cannot_leave_files_is_refused(tmp_path: Path) -> None:
    elsewhere = {"kind": "rest", "url": "http://127.0.0.1:9", "file_roots": []}
    settings = Settings.model_validate({"data_dir": str(tmp_path), "destinations": {"far": elsewhere}})
    async with Workshop(settings, plays=False, routing=Routing(settings)) as shop:
        with pytest.raises(InvalidRequest, match=r"wes\.work_url.*far: .*file_roots"):
            await shop.submit(TWO)
        assert (await shop.runs.list_runs(RunQuery())).items == []


async def test_steps_keep_to_the_limits_of_their_owner(settings: Settings) -> None:
    few = Settings.model_validate(settings.model_dump() | {"limits": {"user": {"live_tasks": 2}}})
    async with Workshop(few) as shop:
        run = await shop.ended_run(await shop.submit([step("s", scatter=6)]))
        assert run.state is State.COMPLETE
        assert len(await shop.steps(run.id)) == 6
        told = [line for line in run.system_logs if "limits.user.live_tasks" in line]
        assert len(told) == 1
        assert told[0].startswith("step s ")


async def test_old_runs_are_removed_by_retention(shop: Workshop) -> None:
    run = await shop.ended_run(await shop.submit(TWO))
    retention = Retention(shop.store, 0.01, runs=shop.runs)
    await asyncio.sleep(0.05)
    assert await retention.sweep() >= 1
    with pytest.raises(RunNotFound):
        await shop.runs.get(run.id)


async def test_one_users_runs_do_not_take_all_places(settings: Settings) -> None:
    """Of 3 places the last is for users who have none; none is where nobody logs in: all are one there."""
    for modes, most in ((("token",), 2), (("none",), 3)):
        data = settings.data_dir / modes[0]
        auth = settings.auth.model_copy(update={"modes": modes})
        async with Workshop(settings.model_copy(update={"auth": auth, "data_dir": data})) as shop:
            for _ in range(4):
                await shop.submit([step("long", "hang")], owner="alice")
            await shop.until_begun(most)
            of_bob = await shop.submit([step("short")], owner="bob")
            if most == 2:
                assert (await shop.ended_run(of_bob)).state is State.COMPLETE
            else:
                await asyncio.sleep(0.3)  # looks three times
                assert (await shop.runs.get(of_bob)).state is State.QUEUED
            assert shop.player.begun.count("long") == most


async def test_a_cancel_goes_on_after_a_restart(settings: Settings) -> None:
    async with Workshop(settings, plays=False) as first:
        run_id = await first.submit([step("s", "hang", scatter=3)])
        await eventually(lambda: first.steps(run_id))
        await first.runs.request_cancel(run_id, "canceled by alice")
        first.run_bell.ring(run_id)

        async def are_canceling() -> bool:
            ids = [one.task_id for one in (await first.steps(run_id)).values()]
            return {await first.store.get_state(one) for one in ids} == {State.CANCELING}

        await eventually(are_canceling)
        assert (await first.runs.get(run_id)).state is State.CANCELING  # nobody ends its tasks
    async with Workshop(settings) as second:
        assert (await second.ended_run(run_id)).state is State.CANCELED
        for one in (await second.steps(run_id)).values():
            assert await second.store.get_state(one.task_id) is State.CANCELED


async def test_a_removal_goes_on_after_a_restart(settings: Settings) -> None:
    async with Workshop(settings) as first:
        run = await first.ended_run(await first.submit(TWO))
        await first.conductor.stop()
        await first.runs.doom(run.id)
    async with Workshop(settings) as second:

        async def is_gone() -> bool:
            return not await second.runs.list_steps(run.id, limit=1)

        await eventually(is_gone)
        assert not (settings.data_dir / "wes/work" / run.id).exists()
