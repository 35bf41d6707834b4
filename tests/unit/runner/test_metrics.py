"""What the runner counts while tasks live and die."""

from pathlib import Path

from tesp_api.metrics.tasks import TaskMetrics
from tesp_api.tes.states import State
from tests.unit.runner.attempts import Sites, running, until_true


def metrics_of(sites: Sites) -> TaskMetrics:
    assert sites.scheduler is not None
    return sites.scheduler.metrics


def samples(metrics: TaskMetrics, name: str) -> dict[tuple[str, ...], float]:
    """Those that are not zero."""
    metrics.look()
    [family] = [one.family() for one in metrics.instruments if one.name == name]
    found = {tuple(sample.labels.values()): sample.value for sample in family.samples}
    return {labels: value for labels, value in found.items() if value}


async def test_a_task_from_its_claim_to_its_end(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        metrics = metrics_of(sites)
        worker = await sites.worker(task_id := await sites.submit())
        assert samples(metrics, "tesp_driven_tasks") == {("QUEUED", "near"): 1}
        worker.start()
        worker.event("executor_started", executor=0)
        await sites.in_state(task_id, State.RUNNING)

        async def seen() -> bool:
            return samples(metrics, "tesp_driven_tasks") == {("RUNNING", "near"): 1}

        await until_true(seen)
        assert samples(metrics, "tesp_leases_held") == {(): 1}
        ended = {
            "exit_code": 0,
            "started_at": "2026-01-01T00:00:00+00:00",
            "ended_at": "2026-01-01T00:00:02Z",
        }
        worker.event("executor_ended", executor=0, **ended)
        moved = {"url": "https://a/b", "size_bytes": 1000, "sha256": "x", "path": "/b"}
        worker.finish(inputs=[moved])
        await sites.ended(task_id)

        async def let_go() -> bool:
            return not samples(metrics, "tesp_leases_held")

        await until_true(let_go)
        assert metrics.ended.value("COMPLETE", "near") == 1
        assert metrics.moved.value("https", "input", "near") == 1000
        assert [metrics.phases.count(phase, "near") for phase in ("queued", "executor", "whole")] == [1, 1, 1]
        assert (metrics.takeovers.value(), metrics.lost.value()) == (0, 0)


async def test_a_restart_counts_a_takeover_and_each_phase_once(tmp_path: Path) -> None:
    async with running(tmp_path) as sites:
        worker = await sites.worker(task_id := await sites.submit())
        worker.start()
        worker.run_executor()
        await sites.in_state(task_id, State.RUNNING)
        before = metrics_of(sites)
        await sites.restart()
        worker.finish()
        await sites.ended(task_id)
        assert before.phases.count("executor", "near") == 0
        assert metrics_of(sites).takeovers.value() == 1
        assert metrics_of(sites).phases.count("executor", "near") == 1


async def test_a_retry_is_counted_by_its_cause_and_no_other_word(tmp_path: Path) -> None:
    async with running(tmp_path, retries={"pause_s": 0.01, "storage_away": 3}) as sites:
        worker = await sites.worker(task_id := await sites.submit())
        worker.start()
        worker.finish("SYSTEM_ERROR", "no answer", cause="storage_away", begun=0)
        second = await sites.worker(task_id, 2)
        second.start()
        second.finish("SYSTEM_ERROR", "strange", cause="made up by the site", begun=0)
        await sites.ended(task_id)
        metrics = metrics_of(sites)
        assert samples(metrics, "tesp_task_retries_total") == {("storage_away", "near"): 1}
        assert metrics.ended.value("SYSTEM_ERROR", "near") == 1
        assert metrics.phases.count("queued", "near") == 1
        metrics.retried("near", "made up by the site")
        assert metrics.retries.value("other", "near") == 1


async def test_a_cancel_before_any_place_has_no_destination(tmp_path: Path) -> None:
    async with running(tmp_path, {"near": {"max_running": 1}}) as sites:
        await sites.worker(await sites.submit())
        waiting = await sites.submit()
        metrics = metrics_of(sites)

        async def held() -> bool:
            return samples(metrics, "tesp_driven_tasks").get(("QUEUED", "none")) == 1

        await until_true(held)
        await sites.cancel(waiting)
        await sites.ended(waiting)
        assert metrics.ended.value("CANCELED", "none") == 1
