"""Who makes spans hears of ends, reads the store, and never holds anybody up."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tesp_api.app import create_app
from tesp_api.bell import Bell
from tesp_api.errors import SettingsError, StoreUnavailable
from tesp_api.metrics.page import Metrics
from tesp_api.settings import Settings
from tesp_api.tes.traceparent import span_id_of
from tesp_api.tracing.span import Span
from tesp_api.tracing.tracer import Tracer
from tests.fakes.workshop import Workshop, eventually
from tests.unit.runner.attempts import running

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Kept(list[Span]):
    """What was sent."""

    async def named(self, *names: str) -> list[Span]:
        """The spans of these names, once there are as many of them."""

        async def look() -> list[Span] | None:
            found = [span for span in self if span.name in names]
            return found if len(found) >= len(names) else None

        return await eventually(look)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    settings = Settings.model_validate({"data_dir": str(tmp_path), "scheduler": {"scan_s": 0.05}})
    async with Workshop(settings) as opened:
        yield opened


async def test_the_tasks_of_a_run_are_in_its_trace(shop: Workshop) -> None:
    object.__setattr__(shop.parts, "traces_share", 1.0)
    kept, ended, metrics = Kept(), shop.ended, Metrics()
    tracer = Tracer(shop.store, shop.runs, kept.append, 1.0, metrics.traces_dropped)
    await tracer.start(ended, shop.conductor.ended)
    run_id = await shop.submit(
        [{"name": "a", "command": ["true"]}, {"name": "b", "command": ["true"], "after": ["a"]}]
    )
    run = await shop.ended_run(run_id)
    spans = await kept.named("run", "task", "task")
    await tracer.aclose()
    assert {span.trace_id for span in spans} == {run_id.replace("-", "")}
    [of_run] = [span for span in spans if span.name == "run"]
    assert (of_run.began_at, of_run.ended_at) == (run.created_at, run.ended_at)
    assert {span.parent_id for span in spans if span.name == "task"} == {of_run.span_id}
    assert of_run.parent_id == span_id_of("request", "test")
    assert metrics.traces_dropped.value() == 0


async def test_a_store_that_is_away_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tesp_api.tracing.tracer._PAUSE_S", 0.01)
    kept, bell, metrics = Kept(), Bell(), Metrics()
    async with running(tmp_path) as sites:
        assert sites.scheduler is not None
        tracer = Tracer(sites.store, None, kept.append, 1.0, metrics.traces_dropped)  # type: ignore[arg-type]
        worker = await sites.worker(task_id := await sites.submit())
        worker.start()
        worker.run_executor()
        worker.finish()
        await sites.ended(task_id)
        history, failures = sites.store.history, 2

        async def fail_twice(one: str) -> object:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise StoreUnavailable("locked")
            return await history(one)

        monkeypatch.setattr(sites.store, "history", fail_twice)
        await tracer.start(bell, Bell())
        for one in (task_id, task_id, "no-such-task"):
            bell.ring(one)
        await kept.named("task", "executor 0")
        await tracer.aclose()
        assert [span.name for span in kept].count("task") == 1
        assert metrics.traces_dropped.value() == 0


async def test_what_has_not_ended_is_looked_at_again_when_it_has(tmp_path: Path) -> None:
    kept, bell = Kept(), Bell()
    async with running(tmp_path) as sites:
        tracer = Tracer(sites.store, None, kept.append, 1.0, Metrics().traces_dropped)  # type: ignore[arg-type]
        await tracer.start(bell, Bell())
        worker = await sites.worker(task_id := await sites.submit())
        bell.ring(task_id)
        await tracer._queue.join()
        assert kept == []
        worker.start()
        worker.finish()
        await sites.ended(task_id)
        bell.ring(task_id)
        await kept.named("task")
        await tracer.aclose()


def test_nothing_of_it_is_imported_where_it_is_off(tmp_path: Path) -> None:
    script = (
        "import sys; from tesp_api.app import create_app; from tesp_api.settings import Settings;"
        f"create_app(Settings.model_validate({{'data_dir': {str(tmp_path)!r}}}));"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.ex'))])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_extra_the_start_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    tables = {"data_dir": str(tmp_path), "tracing": {"url": "http://127.0.0.1:4318/v1/traces"}}
    with pytest.raises(SettingsError, match=r"tracing\.url needs the extra `otel`"):
        create_app(Settings.model_validate(tables))
