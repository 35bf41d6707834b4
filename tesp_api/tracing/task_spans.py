"""The spans of a task that has ended. Pure functions.

    task                          from its creation to its end
      queued                      until its first attempt begins, and between attempts
      attempt N                   from the choice of a destination to its end
        launch                    until its worker begins, the queue of the site included
        initializing              until the first executor starts
        executor N
        uploading                 from the end of the last executor to the end of the worker
        input, output             transfers that took longer than a second

What the worker tells is by its machine's clock, all else by the store's.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tesp_api.metrics.timeline import Timeline
from tesp_api.store.base import HistoryEntry, Task
from tesp_api.tes.states import FINAL, State
from tesp_api.tes.traceparent import span_id_of, trace_of
from tesp_api.tracing.span import Span

_WELL = frozenset({State.COMPLETE, State.CANCELED})
_GIVEN_UP = "another attempt follows"
_NAME_MAX_LENGTH = 100
_TEXT_MAX_LENGTH = 500


class _Attempt(NamedTuple):
    number: int
    began_at: datetime
    ended_at: datetime
    reason: str
    is_last: bool


def task_spans(
    task: Task, history: Sequence[HistoryEntry], timelines: Mapping[int, Timeline]
) -> Iterator[Span]:
    """All spans of a task that has ended; `timelines` are those of its attempts, by their numbers."""
    end = next((entry for entry in history if entry.state in FINAL), None)
    if end is None:
        return
    trace = trace_of(task.id, task.warnings)
    own_id = span_id_of(task.id, "task")
    request = span_id_of("request", task.request_id) if task.request_id else ""
    attempts = list(_attempts(history, end.at))
    destination = _destination(task)
    yield Span(
        "task",
        trace.trace_id,
        own_id,
        trace.span_id or request,
        task.created_at,
        end.at,
        {
            "tesp.task.id": task.id,
            "tesp.task.name": str(task.request.get("name") or "")[:_NAME_MAX_LENGTH],
            "tesp.task.state": str(end.state),
            "tesp.task.attempts": len(attempts),
            **({"tesp.destination": destination} if destination else {}),
            **({"tesp.request.id": task.request_id} if task.request_id else {}),
        },
        "" if end.state in _WELL else end.reason[:_TEXT_MAX_LENGTH],
    )
    waits_since = task.created_at
    for one in attempts:
        queued_id = span_id_of(task.id, "queued", str(one.number))
        yield Span("queued", trace.trace_id, queued_id, own_id, waits_since, one.began_at)
        is_well = one.is_last and end.state in _WELL
        attempt_id = span_id_of(task.id, "attempt", str(one.number))
        yield Span(
            f"attempt {one.number}",
            trace.trace_id,
            attempt_id,
            own_id,
            one.began_at,
            one.ended_at,
            {"tesp.task.id": task.id, "tesp.attempt": one.number, "tesp.reason": one.reason},
            "" if is_well else one.reason,
        )
        if (timeline := timelines.get(one.number)) is not None:
            yield from _inner(task.id, trace.trace_id, attempt_id, one, timeline)
        waits_since = one.ended_at
    if not attempts:
        queued_id = span_id_of(task.id, "queued", "0")
        yield Span("queued", trace.trace_id, queued_id, own_id, task.created_at, end.at)


def _inner(
    task_id: str, trace_id: str, attempt_id: str, attempt: _Attempt, timeline: Timeline
) -> Iterator[Span]:
    """What the worker told."""
    count, executor = 0, 0

    def span(name: str, began: datetime, ended: datetime, **more: str | int) -> Span:
        nonlocal count
        count += 1
        own_id = span_id_of(task_id, "attempt", str(attempt.number), name, str(count))
        attributes = {f"tesp.{key}": value for key, value in more.items()}
        code = more.get("exit_code")
        error = f"exit code {code}" if code else ""
        return Span(name, trace_id, own_id, attempt_id, began, max(began, ended), attributes, error)

    began_at = timeline.began_at
    if began_at is not None:
        yield span("launch", min(attempt.began_at, began_at), began_at)
    for phase in timeline.phases():
        if phase.name != "executor":
            yield span(phase.name, phase.began_at, phase.ended_at)
            continue
        code = {} if phase.exit_code is None else {"exit_code": phase.exit_code}
        yield span(f"executor {executor}", phase.began_at, phase.ended_at, **code)
        executor += 1
    for one in timeline.transfers():
        path = one.path[:_TEXT_MAX_LENGTH]
        yield span(
            one.direction, one.began_at, one.ended_at, protocol=one.protocol, path=path, bytes=one.done_bytes
        )


def _attempts(history: Sequence[HistoryEntry], ended_at: datetime) -> Iterator[_Attempt]:
    last = max((entry.attempt for entry in history), default=0)
    for number in range(1, last + 1):
        entries = [entry for entry in history if entry.attempt == number and entry.at <= ended_at]
        if not entries:
            continue
        closing = next(
            (entry for entry in entries if entry.state in FINAL or _GIVEN_UP in entry.reason), entries[-1]
        )
        reason = closing.reason[:_TEXT_MAX_LENGTH]
        yield _Attempt(number, entries[0].at, closing.at, reason, is_last=number == last)


def _destination(task: Task) -> str:
    told = (task.logs[-1].get("metadata") or {}).get("destination") if task.logs else None
    return str(told) if told else ""
