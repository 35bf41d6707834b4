"""What is shown of tasks that are waited for: a line for each state, and a bar for each running transfer."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tesp_api.cli.output import console, print_state_change
from tesp_api.tes.states import FINAL

_TAIL_CHARACTERS = 6
"""Ids begin with their time; their ends tell tasks apart."""

_NAME_MOST_CHARACTERS = 40
_RATE_OVER_S = 120.0


class TransferBars:
    """Shows it on stderr; bars only on a terminal, and only if `wanted`. `with` it, they are redrawn."""

    def __init__(self, *, wanted: bool, several: bool) -> None:
        self._console = console(stderr=True)
        self.are_shown = wanted and self._console.is_terminal
        self._several = several
        self._bars: dict[tuple[str, str, str, str], TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            speed_estimate_period=_RATE_OVER_S,
            disable=not self.are_shown,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show_state(self, task_id: str, state: str) -> None:
        """A line above the bars; those of a task that has ended go, whatever became of its transfers."""
        if state in FINAL:
            self.forget(task_id)
        print_state_change(task_id, state, self._console)

    def forget(self, task_id: str) -> None:
        """Take the task's bars away."""
        for key in [key for key in self._bars if key[0] == task_id]:
            self._progress.remove_task(self._bars.pop(key))

    def show_event(self, task_id: str, event: Mapping[str, Any]) -> None:
        """Draw, move or take away the bar of the transfer that the event is about, if it is about one."""
        if event["event"] != "transfer":
            return
        key = (task_id, event["direction"], event["url"], event["path"])
        if event["ended"]:
            if key in self._bars:
                self._progress.remove_task(self._bars.pop(key))
            return
        if key not in self._bars:
            self._bars[key] = self._progress.add_task("", total=None)
        self._progress.update(
            self._bars[key],
            description=self._label(task_id, event),
            completed=event["done_bytes"],
            total=event.get("total_bytes"),
        )

    def _label(self, task_id: str, event: Mapping[str, Any]) -> str:
        name = event["path"].rstrip("/").rpartition("/")[2]
        if len(name) > _NAME_MOST_CHARACTERS:
            name = name[: _NAME_MOST_CHARACTERS - 1] + "…"
        files_done, files_total = event["files_done"], event.get("files_total")
        if files_total is None:
            name += f" ({files_done} files)"
        elif files_total > 1:
            name += f" ({files_done} of {files_total} files)"
        arrow = "←" if event["direction"] == "input" else "→"
        return f"{task_id[-_TAIL_CHARACTERS:]} {arrow} {name}" if self._several else f"{arrow} {name}"
