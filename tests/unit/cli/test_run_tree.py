"""A run as a tree of its steps."""

import time
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tesp_api.cli import run_tree
from tesp_api.cli.run_tree import watch


def drawn(state: str, steps: list[dict[str, Any]]) -> list[str]:
    out = Console(file=StringIO(), width=100)
    out.print(run_tree.run_tree("r1", state, steps))
    assert isinstance(out.file, StringIO)
    return out.file.getvalue().splitlines()


def step(name: str, state: str, **more: str) -> dict[str, Any]:
    return {"name": name, "state": state, "task_id": "t", **more}


def test_steps_of_one_name_are_counted() -> None:
    steps = [
        step("index", "COMPLETE", reused_from="r0"),
        *(step("align", state) for state in ("RUNNING", "COMPLETE", "QUEUED", "COMPLETE")),
        step("join [x]", "QUEUED"),
    ]
    assert drawn("RUNNING", steps) == [
        "r1  RUNNING",
        "├── index  COMPLETE  taken over",
        "├── align (4)  2 COMPLETE  1 RUNNING  1 QUEUED",
        "└── join [x]  QUEUED",
    ]


def test_a_long_tree_is_cut() -> None:
    lines = drawn("RUNNING", [step(f"s{number}", "QUEUED") for number in range(60)])
    assert len(lines) == 42
    assert lines[-1] == "└── and 20 more steps"


def test_without_a_terminal_each_change_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Client:
        states = iter(["QUEUED", "QUEUED", "RUNNING", "COMPLETE"])

        def state(self, _: str) -> str:
            return next(self.states)

    monkeypatch.setattr(time, "sleep", lambda _: None)
    client: Any = Client()
    assert watch(client, "r1", timeout_s=None, with_tree=True) == "COMPLETE"
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == [
        *("QUEUED", "RUNNING", "COMPLETE")
    ]
