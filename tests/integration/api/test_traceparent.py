"""A client's trace is noted with what it creates, where traces are switched on, and nowhere else."""

from typing import Any

import pytest

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tesp_api.tes.traceparent import span_id_of
from tesp_api.tracing.span import Span
from tests.integration.api.life import TES, connect

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TASK = {"executors": [{"image": "alpine", "command": ["true"]}]}
ON = {"tracing": {"url": "http://127.0.0.1:4318/v1/traces"}}


async def lines(
    store: TaskStore, settings: Settings, traceparent: str, tables: Any, path: str = f"{TES}/tasks"
) -> tuple[list[str], list[Span]]:
    """What the system_logs of a new task say of a trace, and what was sent."""
    sent: list[Span] = []
    changed = Settings.model_validate({"data_dir": settings.data_dir, **tables})
    app = build_api(store, Bell(), changed, {}, emit=sent.append)
    async with connect(app) as client:
        headers = {b"traceparent": traceparent.encode(), b"X-Request-ID": b"r-1"}
        body = {"tasks": [TASK, TASK]} if path.endswith("bulk") else TASK
        answer = (await client.post(path, json=body, headers=headers)).json()
        task = await store.get(answer["tasks"][0]["id"] if "tasks" in answer else answer["id"])
        await client.get(f"{TES}/tasks/{task.id}", headers=headers)
    return [line for line in task.warnings if "trace" in line], sent


async def test_it_is_noted(store: TaskStore, settings: Settings) -> None:
    said, sent = await lines(store, settings, f"00-{TRACE}-{SPAN}-01", ON)
    assert said == [f"part of trace 00-{TRACE}-{span_id_of('request', 'r-1')}-01"]
    [span] = sent
    assert (span.name, span.trace_id, span.parent_id) == ("create a task", TRACE, SPAN)


async def test_tasks_of_a_bulk_are_all_in_it(store: TaskStore, settings: Settings) -> None:
    said, sent = await lines(store, settings, f"00-{TRACE}-{SPAN}-01", ON, "/tesp/v1/tasks:bulk")
    assert len(said) == 1
    assert [(span.name, span.attributes["tesp.created"]) for span in sent] == [("create tasks", 2)]


async def test_a_client_that_does_not_want_it_sent(store: TaskStore, settings: Settings) -> None:
    said, sent = await lines(store, settings, f"00-{TRACE}-{SPAN}-00", ON)
    assert said[0].endswith("-00") and sent == []


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{TRACE}-{SPAN}-01\u2028<b>"])
async def test_a_header_that_is_none_is_not_looked_at(
    store: TaskStore, settings: Settings, header: str
) -> None:
    said, sent = await lines(store, settings, header, ON)
    assert said == [] and len(sent) == 1


async def test_where_there_are_no_traces_nothing_is_noted(store: TaskStore, settings: Settings) -> None:
    assert await lines(store, settings, f"00-{TRACE}-{SPAN}-01", {}) == ([], [])
