"""What is counted comes out as Prometheus reads it."""

import asyncio
from typing import Protocol

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tesp_api.errors import StoreUnavailable, TaskNotFound
from tesp_api.metrics.calls import CallMetrics
from tesp_api.metrics.instruments import Count, Durations, Gauge, Instrument
from tesp_api.metrics.page import Metrics


async def exported(*instruments: Instrument) -> dict[str, float]:
    """The samples of these, by name and labels as text."""
    metrics = Metrics()
    metrics.add(*instruments)
    text, _ = await metrics.page("")
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_counts_and_gauges() -> None:
    count, gauge = Count("x_total", "X.", ("a",)), Gauge("y", "Y.")
    count.add("one")
    count.add("one", by=2.5)
    gauge.set(7)
    shown = await exported(count, gauge, Count("z_total", "Z."))
    assert (shown["x_total one"], shown["y"], shown["z_total"]) == (3.5, 7, 0)
    gauge.clear()
    assert "y" not in await exported(gauge)


async def test_durations_fall_into_buckets() -> None:
    durations = Durations("d_seconds", "D.", ("a",), bounds_s=(0.1, 1))
    for took_s in (0.05, 0.1, 0.5, 3):
        durations.add(took_s, "x")
    shown = await exported(durations)
    assert [shown[f"d_seconds_bucket x {bound}"] for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert shown["d_seconds_count x"] == 4
    assert shown["d_seconds_sum x"] == pytest.approx(3.65)


async def test_names_are_those_of_prometheus_and_each_there_once() -> None:
    described = Metrics().describe_all()
    names = [one.name for one in described]
    assert len(set(names)) == len(names) > 30
    for one in described:
        assert one.name.startswith("tesp_")
        assert one.name.endswith("_total") is (one.kind == "counter"), one.name
        assert one.name.endswith("_seconds") or one.kind != "histogram", one.name
        assert one.help.endswith(".") and len(one.labels) <= 3
        assert not {"owner", "user", "task_id", "path"} & set(one.labels)


async def test_openmetrics_for_who_asks_for_it() -> None:
    text, content_type = await Metrics().page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


async def test_what_cannot_be_asked_is_left_out_and_the_rest_is_there() -> None:
    async def away() -> None:
        raise StoreUnavailable("away")

    async def wrong() -> None:
        raise ValueError("a bug")

    metrics = Metrics()
    metrics.ask(away)
    metrics.ask(wrong)
    assert b"tesp_build_info" in (await metrics.page(""))[0]


class Asked(Protocol):
    news: str

    async def get(self, what: str) -> str: ...
    async def wait(self) -> None: ...
    def name(self) -> str: ...


class Answers:
    news = "news"

    async def get(self, what: str) -> str:
        if what == "away":
            raise StoreUnavailable("away")
        if what == "nothing":
            raise TaskNotFound(what)
        return what

    async def wait(self) -> None:
        await asyncio.sleep(0)

    def name(self) -> str:
        return "answers"


async def test_calls_are_timed_and_stay_what_they_are() -> None:
    calls = CallMetrics("store", "a call", ("operation",), errors=(StoreUnavailable,))
    measured: Asked = calls.measured(Answers(), Asked, prefix="x.", but=("wait",))
    assert await measured.get("it") == "it"
    for what, error in (("away", StoreUnavailable), ("nothing", TaskNotFound)):
        with pytest.raises(error):
            await measured.get(what)
    await measured.wait()
    assert (measured.news, measured.name()) == ("news", "answers")
    assert calls.seconds.count("x.get") == 3
    assert calls.seconds.count("x.wait") == 0
    assert calls.failures.value("x.get", "StoreUnavailable") == 1
    assert calls.failures.value("x.get", "TaskNotFound") == 0
