"""A line of the log is one JSON object, whatever it is about."""

import json
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from tesp_api.cli.json_lines import JsonFormatter
from tesp_api.context import REQUEST_ID, RUN_ID, TASK_ID, TRACE_ID


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    return logging.LogRecord(
        "tesp_api.x", logging.WARNING, "x.py", 1, message, arguments, more.get("exc_info")
    )


def line(one: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter().format(one)
    assert text.isascii() and len(text.splitlines()) == 1
    found: dict[str, Any] = json.loads(text)
    return found


def test_what_is_known_is_there_and_nothing_else() -> None:
    shown = line(record("task %s waits", "a"))
    assert shown.pop("time").endswith("+00:00")
    assert shown == {"level": "WARNING", "logger": "tesp_api.x", "message": "task a waits"}


@pytest.mark.parametrize(
    ("variable", "key"),
    [(REQUEST_ID, "request_id"), (TASK_ID, "task_id"), (RUN_ID, "run_id"), (TRACE_ID, "trace_id")],
)
def test_what_is_being_worked_for(variable: ContextVar[str], key: str) -> None:
    def within() -> dict[str, Any]:
        variable.set("x-1")
        return line(record("said"))

    run: Callable[[Callable[[], dict[str, Any]]], dict[str, Any]] = copy_context().run
    assert run(within)[key] == "x-1"
    assert key not in line(record("said"))


def test_no_text_ends_the_line_or_steers_a_terminal() -> None:
    wild = 'a\nb\r\x1b[31m"}\u2028\u202e\ud800'
    assert line(record("%s", wild))["message"] == wild


def test_a_traceback_is_a_text() -> None:
    try:
        raise ValueError("a\nbug")
    except ValueError:
        shown = line(record("failed", exc_info=sys.exc_info()))
    assert "Traceback" in shown["exception"] and "a\nbug" in shown["exception"]
