"""Which trace a task belongs to, by a client's header or by its own id."""

import pytest

from tesp_api.tes.ids import made_at_s, new_task_id
from tesp_api.tes.times import now
from tesp_api.tes.traceparent import TraceParent, parse_traceparent, span_id_of, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", True),
    ],
)
def test_a_header(header: str, is_sampled: bool) -> None:
    assert parse_traceparent(header) == TraceParent(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_header_that_is_none(header: str) -> None:
    assert parse_traceparent(header) is None


def test_a_line_brings_the_trace_back() -> None:
    client = TraceParent(TRACE, SPAN, is_sampled=False)
    assert trace_of(new_task_id(), ["created by request x", client.as_line()]) == client


def test_without_one_the_trace_follows_from_the_id() -> None:
    task_id = new_task_id()
    assert trace_of(task_id) == TraceParent(task_id.replace("-", ""), "")
    assert trace_of(task_id, ["part of trace nonsense"]) == trace_of(task_id)
    assert len(trace_of("an id of another kind").trace_id) == 32


def test_ids_of_spans_are_the_same_wherever_they_are_made() -> None:
    assert (
        span_id_of("a", "attempt", "1") == span_id_of("a", "attempt", "1") != span_id_of("a", "attempt", "2")
    )
    assert len(span_id_of("a")) == 16


def test_an_id_knows_when_it_was_made() -> None:
    before = now().timestamp()
    assert before - 0.002 <= made_at_s(new_task_id()) <= now().timestamp()
    assert made_at_s("no id") == 0
