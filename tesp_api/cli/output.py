"""What the command line prints: tables for people, one JSON document for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tesp_api.cli.plain_text import CONTROLS, harmless

_WIDTH_OF_A_FILE = 120

_STATE_STYLE = {
    "COMPLETE": "green",
    "RUNNING": "cyan",
    "INITIALIZING": "cyan",
    "QUEUED": "blue",
    "CANCELING": "yellow",
    "CANCELED": "yellow",
    "PREEMPTED": "magenta",
    "EXECUTOR_ERROR": "red",
    "SYSTEM_ERROR": "red",
}


class _Harmless(Console):
    """What it prints was often written by others: their escape sequences are shown, not obeyed."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or not CONTROLS.search(segment.text):
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """Where to print: no markup and no guesses, since the texts are the users' own."""
    out = _Harmless(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = _WIDTH_OF_A_FILE
    return out


def print_json(document: Any) -> None:
    """The one JSON document that `--json` promises."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def state_text(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=_STATE_STYLE.get(state, ""))


def print_state_change(task_id: str, state: str, out: Console) -> None:
    """A line with the time; `out` is on stderr, so that stdout keeps the results alone."""
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    out.print(Text.assemble((now, "dim"), f"  {task_id}  ", state_text(state)))


def print_final_states(tasks: Sequence[Mapping[str, Any]]) -> None:
    """One line a task: its id and how it ended."""
    for task in tasks:
        console().print(Text.assemble(task["id"], "  ", state_text(task["state"])))


def print_report(report: Mapping[str, Any]) -> None:
    """What would become of a task: its faults, or its destination, and warnings."""
    out = console()
    if report["valid"]:
        where = f"; it would go to {report['destination']}" if "destination" in report else ""
        out.print(f"the task is valid{where}")
    for fault in report["faults"]:
        out.print(f"{fault['field']}: {fault['message']}")
    for warning in report["warnings"]:
        out.print(f"warning: {warning}")


def print_limits(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Limits, yours and those of all, and what you have."""
    shown = table("OF", "YOU MAY", "YOU HAVE", "ALL MAY")
    for row in rows:
        shown.add_row(*row)
    console().print(shown)


def print_tasks(tasks: Sequence[Mapping[str, Any]], more: bool) -> None:
    """A list of tasks, newest first."""
    shown = table("ID", "STATE", "NAME", "CREATED")
    for task in tasks:
        created = local_time(task.get("creation_time"))
        shown.add_row(task["id"], state_text(task.get("state", "")), cut(task.get("name", "")), created)
    console().print(shown if tasks else Text("there are no such tasks", "dim"))
    if more:
        console(stderr=True).print(Text("there are more: --all shows them", "dim"))


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    """A table of texts, or what to say where there are none."""
    shown = table(*columns)
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    console().print(shown if rows else Text(nothing, "dim"))


def print_states(
    columns: Sequence[str], rows: Sequence[Sequence[str]], nothing: str, more: bool = False
) -> None:
    """A table whose second column is a state, or what to say where there are no rows."""
    shown = table(*columns)
    for first, state, *rest in rows:
        shown.add_row(first, state_text(state), *(cut(cell) for cell in rest))
    console().print(shown if rows else Text(nothing, "dim"))
    if more:
        console(stderr=True).print(Text("there are more: --all shows them", "dim"))


def print_task(task: Mapping[str, Any]) -> None:
    """All of a task that a reader wants to see at a glance."""
    out = console()
    out.print(Text.assemble(("id          ", "dim"), task["id"]))
    out.print(Text.assemble(("state       ", "dim"), state_text(task["state"])))
    for key in ("name", "description"):
        if task.get(key):
            out.print(Text.assemble((f"{key:12}", "dim"), task[key]))
    if "creation_time" in task:
        out.print(Text.assemble(("created     ", "dim"), local_time(task["creation_time"])))
    for key, value in (task.get("tags") or {}).items():
        out.print(Text.assemble(("tag         ", "dim"), f"{key}={value}"))
    logs = task.get("logs") or []
    for number, log in enumerate(logs, start=1):
        if len(logs) > 1:
            out.print(Text(f"\nattempt {number} of {len(logs)}", "bold"))
        _print_attempt(out, task.get("executors") or [], log)


def executor_table(executors: Sequence[Mapping[str, Any]], log: Mapping[str, Any]) -> Table:
    """The executors that have ended, with exit codes and times."""
    shown = table("EXECUTOR", "EXIT", "STARTED", "TOOK", "IMAGE", "COMMAND")
    for number, ended in enumerate(log.get("logs") or []):
        told = executors[number] if number < len(executors) else {}
        code = ended.get("exit_code")
        shown.add_row(
            str(number),
            Text(str(code), "green" if code == 0 else "red"),
            local_time(ended.get("start_time"), "%H:%M:%S"),
            _duration(ended.get("start_time"), ended.get("end_time")),
            cut(told.get("image", "")),
            cut(_one_line(told.get("command") or [])),
        )
    return shown


def _print_attempt(out: Console, executors: Sequence[Mapping[str, Any]], log: Mapping[str, Any]) -> None:
    if log.get("logs"):
        out.print()
        out.print(executor_table(executors, log))
    for number, ended in enumerate(log.get("logs") or []):
        for stream in ("stdout", "stderr"):
            if ended.get(stream):
                out.print(Text(f"\n{stream} of executor {number}", "dim"))
                out.print(Text(ended[stream].rstrip("\n")))
    if log.get("outputs"):
        shown = table("OUTPUT", "BYTES")
        for output in log["outputs"]:
            shown.add_row(Text(output["url"]), output.get("size_bytes", ""))
        out.print()
        out.print(shown)
    if log.get("system_logs"):
        out.print(Text("\nsystem logs", "dim"))
        for line in log["system_logs"]:
            out.print(Text(line))


def table(*columns: str) -> Table:
    """A table without lines, of which the texts that are long give way."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        # rich takes room from columns that may wrap before it takes any from the others
        shown.add_column(column, no_wrap=column not in {"NAME", "IMAGE", "COMMAND", "OUTPUT"})
    return shown


def cut(text: str) -> Text:
    """A text that gives way where the terminal is narrow, and keeps to its line."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _one_line(command: Sequence[str], width: int = 80) -> str:
    words = " ".join(" ".join(command).split())
    return words if len(words) <= width else words[: width - 1] + "…"


def local_time(stamp: str | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time as RFC 3339 in this machine's zone; "" for none."""
    return datetime.fromisoformat(stamp).astimezone().strftime(form) if stamp else ""


def _duration(began: str | None, ended: str | None) -> str:
    if not began or not ended:
        return ""
    return f"{(datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds():.2f} s"
