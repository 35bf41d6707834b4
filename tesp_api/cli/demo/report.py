"""What the demo prints: each step when it happens, and the results at the end."""

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from tesp_api.cli.client import TespClient
from tesp_api.cli.exits import CommandFailed
from tesp_api.cli.output import console, executor_table, state_text
from tesp_api.tes.states import FINAL

_POLL_S = 0.05
_LINES_SHOWN = 12


def say(text: str) -> None:
    """A line for the reader, at once."""
    console().print(Text(text))


def follow(client: TespClient, task_id: str, *, within_s: float) -> dict[str, Any]:
    """Print each state and each executor's end as they come; return the task as it ended.

    Raises:
        CommandFailed: it has not ended in time.
    """
    began = time.monotonic()
    states_shown = executors_shown = 0
    while True:
        task = client.get(task_id, "FULL")
        history, ended = client.history(task_id), _executor_logs(task)
        news = [_state_line(entry) for entry in history[states_shown:]]
        news += [_end_line(*one) for one in list(enumerate(ended))[executors_shown:]]
        for _, line in sorted(news, key=lambda one: one[0]):
            console().print(Text(f"{time.monotonic() - began:7.2f} s  ", "dim").append_text(line))
        states_shown, executors_shown = len(history), len(ended)
        if task["state"] in FINAL:
            return task
        if time.monotonic() - began > within_s:
            raise CommandFailed(f"the task is still {task['state']} after {within_s:g} s")
        time.sleep(_POLL_S)


def _state_line(entry: Mapping[str, Any]) -> tuple[datetime, Text]:
    line = Text.assemble(state_text(entry["state"]), f"  {entry['reason']}")
    return datetime.fromisoformat(entry["time"]), line


def _end_line(number: int, log: Mapping[str, Any]) -> tuple[datetime, Text]:
    line = Text(f"executor {number} ended with exit code {log['exit_code']}")
    return datetime.fromisoformat(log["end_time"]), line


def show_end(task: Mapping[str, Any], results: Path) -> None:
    """Final state, executors, and the first lines of each output file.

    Raises:
        CommandFailed: the task did not end COMPLETE, with its system logs.
    """
    out = console()
    out.print(Text.assemble("\nThe task ended ", state_text(task["state"]), ".\n"))
    log = (task.get("logs") or [{}])[-1]
    out.print(executor_table(task["executors"], log))
    if task["state"] != "COMPLETE":
        raise CommandFailed("the demo's task failed:\n" + "\n".join(log.get("system_logs") or []))
    for output in log["outputs"]:
        file = results / Path(output["path"]).name
        lines = file.read_text().splitlines()
        say(f"\n{file.name} ({output['size_bytes']} bytes)")
        for line in lines[:_LINES_SHOWN]:
            say("  " + line.expandtabs(10))
        if len(lines) > _LINES_SHOWN:
            say(f"  … and {len(lines) - _LINES_SHOWN} more lines")


def show_next_steps() -> None:
    """What a reader can try now; each line works as it stands next to `make serve`."""
    say(
        "\nWhere to look next: start a server with `make serve`, open http://127.0.0.1:8080/ or try\n"
        "  .venv/bin/tesp task create examples/hello.json --wait\n"
        "  .venv/bin/tesp task list\n"
        "  .venv/bin/tesp task logs ID\n"
        "  curl -s 'http://127.0.0.1:8080/ga4gh/tes/v1/tasks?view=BASIC'\n"
        "  curl -s http://127.0.0.1:8080/ga4gh/tes/v1/service-info\n"
        "The README goes on from there."
    )


def _executor_logs(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    logs = task.get("logs") or []
    return list(logs[-1].get("logs") or []) if logs else []
