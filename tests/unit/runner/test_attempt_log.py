"""What the worker reports becomes one entry of a task's logs."""

import json
from typing import Any

from pydantic_core import to_json

from tesp_api.runner.attempt_log import AttemptLog
from tesp_api.tes.states import State

T0, T1, T2 = (f"2026-01-01T00:00:0{second}.000000+00:00" for second in range(3))


def _event(seq: int, event: str, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "at": T0, "event": event, **more}


def test_an_executor_is_listed_once_it_has_ended() -> None:
    log = AttemptLog(metadata={})
    log.add_event(_event(0, "initializing"))
    log.add_event(_event(1, "executor_started", executor=0))
    assert log.as_json() == {"logs": [], "outputs": [], "start_time": T0}
    log.add_event(_event(2, "executor_ended", executor=0, exit_code=3, started_at=T1, ended_at=T2))
    assert log.as_json()["logs"] == [{"start_time": T1, "end_time": T2, "exit_code": 3}]


def test_events_tell_the_state() -> None:
    log = AttemptLog(metadata={})
    assert log.add_event(_event(0, "initializing")) is State.INITIALIZING
    assert log.add_event(_event(1, "executor_started", executor=0)) is State.RUNNING
    assert log.add_event(_event(2, "staging_out")) is None


def test_an_event_read_twice_counts_once() -> None:
    log = AttemptLog(metadata={})
    for _ in range(2):
        log.add_event(_event(0, "message", text="the image was pulled"))
    assert log.as_json()["system_logs"] == ["the image was pulled"]


def test_what_was_stored_stands_until_the_events_are_read_again() -> None:
    first = AttemptLog(metadata={"job_id": "j"})
    first.add_event(_event(0, "message", text="said"))
    first.add_event(_event(1, "executor_ended", executor=0, exit_code=3, started_at=T1, ended_at=T2))
    second = AttemptLog.resumed({"job_id": "j"}, first.as_json())
    assert second.as_json() == first.as_json()
    second.add_event(_event(0, "message", text="said"))
    second.add_event(_event(1, "executor_ended", executor=0, exit_code=3, started_at=T1, ended_at=T2))
    assert second.as_json() == first.as_json()


def test_the_result_replaces_what_the_events_said() -> None:
    log = AttemptLog(metadata={"destination": "local"})
    log.add_event(_event(0, "message", text="something early"))
    ending = log.add_result(
        {
            "state": "EXECUTOR_ERROR",
            "reason": "executor 0 ended with exit code 2",
            "started_at": T0,
            "ended_at": T2,
            "executors": [
                {"exit_code": 2, "started_at": T0, "ended_at": T1, "stdout_bytes": 0, "stderr_bytes": 0}
            ],
            "inputs": [{"path": "/i", "size_bytes": 1, "sha256": "01"}] * 1002,
            "outputs": [{"url": "file:///x", "path": "/x", "size_bytes": 7, "sha256": "ab"}],
            "system_logs": ["all of it"],
            "metadata": {"host": "node1"},
        }
    )
    assert (ending.state, ending.reason) == (State.EXECUTOR_ERROR, "executor 0 ended with exit code 2")
    assert log.as_json() == {
        "start_time": T0,
        "end_time": T2,
        "logs": [{"start_time": T0, "end_time": T1, "exit_code": 2}],
        "outputs": [{"url": "file:///x", "path": "/x", "size_bytes": "7"}],
        "system_logs": ["all of it"],
        "metadata": {
            "destination": "local",
            "host": "node1",
            "inputs": json.dumps([{"path": "/i", "size_bytes": 1, "sha256": "01"}] * 1000),
            "inputs_left_out": "2",
            "outputs": '[{"url": "file:///x", "path": "/x", "size_bytes": 7, "sha256": "ab"}]',
        },
    }


def test_a_reason_is_not_said_twice() -> None:
    log = AttemptLog(metadata={}, system_logs=["disk full"])
    log.close(T2, "disk full")
    assert log.as_json() == {"logs": [], "outputs": [], "end_time": T2, "system_logs": ["disk full"]}


def test_whatever_a_site_says_can_be_stored_and_shown() -> None:
    log = AttemptLog(metadata={})
    log.add_event(_event(0, "message", text={"not": "a text \ud800"}))
    assert isinstance(log.system_logs[0], str)
    hostile: dict[str, Any] = {
        "state": "COMPLETE",
        "reason": "\ud800",
        "started_at": {"a": 1},
        "ended_at": 5,
        "executors": [{"exit_code": 10**30, "started_at": "\udc80", "ended_at": None}],
        "outputs": [{"url": float("nan"), "path": ["\ud800"], "size_bytes": -5}],
        "system_logs": ["\ud800", {"a": 1}],
        "metadata": {"\ud800": "\udfff"},
    }
    ending = log.add_result(hostile)
    assert to_json([log.as_json(), ending.reason])
    assert all(isinstance(value, str) for value in log.outputs[0].values())
    assert log.executors[0]["exit_code"] == 2**31 - 1
    assert log.outputs[0]["size_bytes"] == "0"
    assert all(isinstance(line, str) for line in log.system_logs)
