"""The spans of requests and workflow runs; those of a run's tasks lie below its own, in the same trace."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from tesp_api.store.base import CREATED_BY
from tesp_api.store.runs import Run
from tesp_api.tes.states import State
from tesp_api.tes.traceparent import TraceParent, parse_traceparent, span_id_of, trace_of
from tesp_api.tracing.span import Span, is_sent


def run_span_id(run_id: str) -> str:
    """That of the run's own span."""
    return span_id_of(run_id, "run")


def step_line(run: Run, share: float) -> str:
    """What the tasks of a run say of the trace that they are part of."""
    trace = trace_of(run.id, run.system_logs)
    return TraceParent(trace.trace_id, run_span_id(run.id), is_sent(trace, share)).as_line()


def run_spans(run: Run) -> Iterator[Span]:
    """The spans of a run that has ended."""
    if run.ended_at is None:
        return
    trace, own_id = trace_of(run.id, run.system_logs), run_span_id(run.id)
    named = (line.removeprefix(CREATED_BY) for line in run.system_logs if line.startswith(CREATED_BY))
    request = next(named, "")
    is_well = run.state in (State.COMPLETE, State.CANCELED)
    yield Span(
        "run",
        trace.trace_id,
        own_id,
        trace.span_id or (span_id_of("request", request) if request else ""),
        run.created_at,
        run.ended_at,
        {"tesp.run.id": run.id, "tesp.run.state": str(run.state), "tesp.run.engine": run.engine},
        "" if is_well else str(run.state),
    )
    queued_id = span_id_of(run.id, "queued")
    yield Span("queued", trace.trace_id, queued_id, own_id, run.created_at, run.started_at or run.ended_at)


def request_line(traceparent: str, request_id: str) -> str:
    """What a task or run says that was created by a request with this header; "" if it has none."""
    client = parse_traceparent(traceparent)
    if client is None:
        return ""
    return client._replace(span_id=span_id_of("request", request_id)).as_line()


def request_spans(
    action: str,
    request_id: str,
    traceparent: str,
    created: Sequence[str],
    began_at: datetime,
    ended_at: datetime,
    share: float,
) -> Iterator[Span]:
    """The span of a request that created these tasks or runs: in the client's trace, or in each of theirs."""
    client = parse_traceparent(traceparent)
    for trace in [client] if client else [trace_of(one) for one in created]:
        if is_sent(trace, share):
            yield Span(
                action,
                trace.trace_id,
                span_id_of("request", request_id),
                trace.span_id,
                began_at,
                ended_at,
                {"tesp.request.id": request_id, "tesp.created": len(created)},
                is_request=True,
            )
