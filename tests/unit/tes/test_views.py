import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tesp_api.store.base import Task
from tesp_api.tes.states import State
from tesp_api.tes.tasks import View
from tesp_api.tes.views import StreamId, decode_tail, ended_streams, minimal_view, task_view

REQUEST = {
    "name": "n",
    "inputs": [{"path": "/a", "content": "secret", "type": "FILE"}],
    "executors": [{"image": "i", "command": ["c"]}, {"image": "i", "command": ["d"]}],
}
LOG = {
    "logs": [{"start_time": "t0", "end_time": "t1", "exit_code": 0}, {"start_time": "t1"}],
    "outputs": [{"url": "/o", "path": "/p", "size_bytes": 7}],
    "start_time": "t0",
    "end_time": None,
    "system_logs": ["pulled"],
    "metadata": {"host": "h"},
}
TAILS = {StreamId(1, 0, "stdout"): "out", StreamId(1, 0, "stderr"): ""}


def stored(**changes: Any) -> Task:
    known: dict[str, Any] = {
        "id": "t-1",
        "owner": "",
        "state": State.RUNNING,
        "created_at": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "request": REQUEST,
        "logs": (LOG,),
        "attempt": 1,
    }
    return Task(**known | changes)


def test_minimal_shows_id_and_state_alone() -> None:
    assert task_view(stored(), View.MINIMAL, tes_1_0=False) == {"id": "t-1", "state": "RUNNING"}


def test_basic_leaves_out_content_outputs_of_executors_and_system_logs() -> None:
    assert task_view(stored(), View.BASIC, tes_1_0=False, tails=TAILS) == {
        "id": "t-1",
        "state": "RUNNING",
        "name": "n",
        "inputs": [{"path": "/a", "type": "FILE"}],
        "executors": REQUEST["executors"],
        "creation_time": "2026-01-31T12:00:00.000000+00:00",
        "logs": [
            {
                "logs": [{"start_time": "t0", "end_time": "t1", "exit_code": 0}],
                "outputs": [{"url": "/o", "path": "/p", "size_bytes": "7"}],
                "start_time": "t0",
                "metadata": {"host": "h"},
            }
        ],
    }
    assert REQUEST["inputs"] == [{"path": "/a", "content": "secret", "type": "FILE"}]  # still as stored


def test_full_shows_all() -> None:
    shown = task_view(stored(), View.FULL, tes_1_0=False, tails=TAILS)
    assert shown["inputs"] == REQUEST["inputs"]
    [log] = shown["logs"]
    assert log["system_logs"] == ["pulled"]
    assert log["logs"] == [
        {"start_time": "t0", "end_time": "t1", "exit_code": 0, "stdout": "out", "stderr": ""}
    ]


@pytest.mark.parametrize("view", View)
def test_no_view_shows_a_null(view: View) -> None:
    assert "null" not in json.dumps(task_view(stored(), view, tes_1_0=False, tails=TAILS))


def test_a_task_without_attempts_has_an_empty_list_of_logs() -> None:
    assert task_view(stored(logs=()), View.BASIC, tes_1_0=False)["logs"] == []


def test_a_log_always_has_its_required_lists() -> None:
    [log] = task_view(stored(logs=({"metadata": {}},)), View.FULL, tes_1_0=False)["logs"]
    assert log == {"logs": [], "outputs": [], "metadata": {}}


def test_warnings_stand_in_the_last_attempts_system_logs_of_full() -> None:
    task = stored(logs=(LOG, {"logs": [], "outputs": []}), warnings=("left out",))
    first, last = task_view(task, View.FULL, tes_1_0=False)["logs"]
    assert first["system_logs"] == ["pulled"]
    assert last["system_logs"] == ["left out"]
    assert "system_logs" not in task_view(task, View.BASIC, tes_1_0=False)["logs"][-1]
    assert LOG["system_logs"] == ["pulled"]


def test_only_ended_executors_have_streams_to_show() -> None:
    assert ended_streams(stored()) == list(TAILS)


@pytest.mark.parametrize(
    ("state", "shown"),
    [(State.CANCELING, "CANCELED"), (State.PREEMPTED, "SYSTEM_ERROR"), (State.RUNNING, "RUNNING")],
)
def test_clients_of_1_0_see_the_states_that_they_know(state: State, shown: str) -> None:
    assert minimal_view("t", state, tes_1_0=True)["state"] == shown
    assert minimal_view("t", state, tes_1_0=False)["state"] == state


@pytest.mark.parametrize(
    ("data", "cut", "text"),
    [
        (b"plain", False, "plain"),
        (b"\xff\xfeok", False, "\ufffd\ufffdok"),
        ("ü".encode()[1:] + b"ber", True, "ber"),
        ("🙂".encode()[1:] + b"!", True, "!"),
        ("ü".encode()[1:] + b"ber", False, "\ufffdber"),
        (b"\x80" * 5, True, "\ufffd\ufffd"),
        (b"", True, ""),
    ],
)
def test_tails_are_decoded(data: bytes, cut: bool, text: str) -> None:
    assert decode_tail(data, cut=cut) == text


def test_v1_shows_no_field_that_came_with_1_1() -> None:
    request = {
        "inputs": [{"path": "/a", "url": "/a", "type": "FILE", "streamable": True}],
        "outputs": [{"path": "/o*", "url": "/o", "type": "FILE", "path_prefix": "/"}],
        "executors": [{"image": "i", "command": ["c"], "ignore_error": True}],
        "resources": {"cpu_cores": 1, "backend_parameters": {"a": "b"}, "backend_parameters_strict": False},
    }
    task = stored(request=request)
    shown = task_view(task, View.FULL, tes_1_0=True)
    assert {part: shown[part] for part in request} == {
        "inputs": [{"path": "/a", "url": "/a", "type": "FILE"}],
        "outputs": [{"path": "/o*", "url": "/o", "type": "FILE"}],
        "executors": [{"image": "i", "command": ["c"]}],
        "resources": {"cpu_cores": 1},
    }
    assert {part: task_view(task, View.FULL, tes_1_0=False)[part] for part in request} == request
