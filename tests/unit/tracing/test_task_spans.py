"""The spans that are made of a task's history and its worker's events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tesp_api.metrics.timeline import Timeline
from tesp_api.store.base import HistoryEntry, Task
from tesp_api.tes.states import State
from tesp_api.tes.traceparent import TraceParent, span_id_of
from tesp_api.tracing.run_spans import request_spans
from tesp_api.tracing.span import Span, is_sent
from tesp_api.tracing.task_spans import task_spans
from tests.factories import make_task

S = State
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CLIENT = TraceParent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


def at(second: float) -> datetime:
    return BEGIN + timedelta(seconds=second)


def entry(second: float, state: State, attempt: int = 0, reason: str = "") -> HistoryEntry:
    return HistoryEntry(at(second), state, attempt, reason)


def task(**more: Any) -> Task:
    made = make_task(created_at=BEGIN, warnings=("created by request r-1",), name="a task")
    return replace(made, logs=({"metadata": {"destination": "near"}},), **more)


def timeline(*events: tuple[float, dict[str, Any]]) -> Timeline:
    found = Timeline()
    for second, event in events:
        found.add_event({"at": at(second).isoformat(), **event})
    return found


def seconds(span: Span) -> tuple[float, float]:
    return (span.began_at - BEGIN).total_seconds(), (span.ended_at - BEGIN).total_seconds()


TWO_ATTEMPTS = [
    entry(0, S.QUEUED, 0, "created"),
    entry(1, S.QUEUED, 0, "waits: near is full"),
    entry(2, S.QUEUED, 1, "attempt 1 goes to near as job j-1"),
    entry(4, S.INITIALIZING, 1),
    entry(5, S.QUEUED, 1, "no answer; another attempt follows after 1 s"),
    entry(5.5, S.QUEUED, 1, "waits: near is full"),
    entry(7, S.QUEUED, 2, "attempt 2 goes to near as job j-2"),
    entry(8, S.INITIALIZING, 2),
    entry(9, S.RUNNING, 2),
    entry(12, S.COMPLETE, 2, "done"),
]


def test_every_attempt_and_every_wait_has_its_time() -> None:
    one = task(attempt=2)
    worker = timeline(
        (7.5, {"event": "initializing"}),
        (8.5, {"event": "executor_started"}),
        (
            11,
            {
                "event": "executor_ended",
                "started_at": at(8.5).isoformat(),
                "ended_at": at(10).isoformat(),
                "exit_code": 0,
            },
        ),
    )
    spans = list(task_spans(one, TWO_ATTEMPTS, {2: worker}))
    assert [(span.name, *seconds(span)) for span in spans] == [
        ("task", 0, 12),
        ("queued", 0, 2),
        ("attempt 1", 2, 5),
        ("queued", 5, 7),
        ("attempt 2", 7, 12),
        ("launch", 7, 7.5),
        ("initializing", 7.5, 8.5),
        ("executor 0", 8.5, 10),
    ]
    assert {span.trace_id for span in spans} == {one.id.replace("-", "")}
    assert len({span.span_id for span in spans}) == len(spans)
    first, *others = spans
    assert first.parent_id == span_id_of("request", "r-1")
    assert [span.error for span in spans if span.error] == ["no answer; another attempt follows after 1 s"]
    by_name = {span.name: span for span in others}
    for name, parent in (("attempt 1", "task"), ("attempt 2", "task"), ("executor 0", "attempt 2")):
        parents = {**by_name, "task": first}
        assert by_name[name].parent_id == parents[parent].span_id
    assert first.attributes["tesp.destination"] == "near"


def test_spans_are_the_same_whoever_makes_them() -> None:
    one = task(attempt=2)
    assert list(task_spans(one, TWO_ATTEMPTS, {})) == list(task_spans(one, TWO_ATTEMPTS, {}))


def test_a_clients_trace_goes_on() -> None:
    one = task()
    one = replace(one, warnings=(*one.warnings, CLIENT.as_line()))
    spans = list(task_spans(one, [entry(0, S.QUEUED), entry(3, S.CANCELED, 0, "canceled")], {}))
    assert [(span.name, *seconds(span)) for span in spans] == [("task", 0, 3), ("queued", 0, 3)]
    assert {span.trace_id for span in spans} == {CLIENT.trace_id}
    assert spans[0].parent_id == CLIENT.span_id and not spans[0].error


def test_a_task_that_goes_on_has_none() -> None:
    assert list(task_spans(task(), TWO_ATTEMPTS[:-1], {})) == []


def test_a_clock_of_the_site_that_is_wrong_gives_no_span_that_ends_before_it_begins() -> None:
    worker = timeline((-50, {"event": "initializing"}), (-40, {"event": "executor_started"}))
    for span in task_spans(task(attempt=2), TWO_ATTEMPTS, {2: worker}):
        assert span.began_at <= span.ended_at, span.name


def test_the_share_of_traces_is_kept_and_clients_decide_of_theirs() -> None:
    own = [TraceParent(f"{number:032x}", "") for number in range(1, 2001)]
    assert 300 < sum(is_sent(one, 0.2) for one in own) < 500
    assert all(is_sent(one, 1.0) for one in own) and not any(is_sent(one, 0.0) for one in own)
    assert is_sent(CLIENT, 0.0)
    assert not is_sent(CLIENT._replace(is_sampled=False), 1.0)


@pytest.mark.parametrize("header", ["", f"00-{CLIENT.trace_id}-{CLIENT.span_id}-01"])
def test_a_request_is_in_the_trace_of_each_task_that_it_created(header: str) -> None:
    ids = [make_task().id for _ in range(3)]
    spans = list(request_spans("create tasks", "r-1", header, ids, at(0), at(1), 1.0))
    traces = [CLIENT.trace_id] if header else [one.replace("-", "") for one in ids]
    assert [span.trace_id for span in spans] == traces
    assert {span.span_id for span in spans} == {span_id_of("request", "r-1")}
    assert {span.parent_id for span in spans} == {CLIENT.span_id if header else ""}
