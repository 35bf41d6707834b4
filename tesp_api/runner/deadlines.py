"""Deadlines: how long a task may be in a state, by the settings and by its own backend parameters."""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tesp_api.errors import Fault
from tesp_api.settings import DeadlineSettings
from tesp_api.store.base import HistoryEntry, TaskStore
from tesp_api.tes.backend_parameters import backend_parameter
from tesp_api.tes.states import State

_NAMES = {State.QUEUED: "queued_s", State.INITIALIZING: "initializing_s", State.RUNNING: "running_s"}


class Deadlines:
    """Those of one task. What counts is its history, so that no restart of a server puts them off.

    Its times are read once for each state, by the clock that dates them; from then on the monotonic clock
    counts, which nobody sets.
    """

    def __init__(
        self, task_id: str, document: Mapping[str, Any], settings: DeadlineSettings, store: TaskStore
    ) -> None:
        self._task_id, self._store = task_id, store
        self._limits_s = dict(_limits_s(document, settings))
        self._ends: dict[State, float] = {}

    async def left_s(self, state: State) -> float:
        """How long the task may still be in the state that it is in; infinity if nothing limits it.

        Raises:
            StoreUnavailable: its history cannot be read.
        """
        if state not in self._limits_s:
            return math.inf
        if state not in self._ends:
            history, now = await self._store.dated_history(self._task_id)
            since = came_at(state, history)
            if since is None:  # it has left the state meanwhile
                return math.inf
            passed_s = max(0.0, (now - since).total_seconds())
            self._ends[state] = time.monotonic() + self._limits_s[state] - passed_s
        return self._ends[state] - time.monotonic()

    async def passed(self, state: State) -> str:
        """Why the task has to end, once it has been in its state for too long; "" before.

        Raises:
            StoreUnavailable: its history cannot be read.
        """
        if await self.left_s(state) > 0:
            return ""
        return f"was {state} for longer than {_NAMES[state]} = {self._limits_s[state]:g} s"

    def entered(self, state: State) -> None:
        """The task has just come into a state: its time counts from now."""
        if state in self._limits_s:
            self._ends[state] = time.monotonic() + self._limits_s[state]

    def begin_anew(self) -> None:
        """A new attempt is to come: the task passes through its states once more."""
        self._ends.clear()


def came_at(state: State, history: Sequence[HistoryEntry]) -> datetime | None:
    """Since when the task has been in the state without leaving it; None if it is in another one."""
    since = None
    for entry in reversed(history):
        if entry.state is not state:
            break
        since = entry.at
    return since


def deadline_faults(document: Mapping[str, Any], settings: DeadlineSettings) -> Iterator[Fault]:
    """What is wrong with the backend parameters that limit how long the task is in a state."""
    for name in _NAMES.values():
        asked = backend_parameter(document, name)
        if asked is None:
            continue
        field, most_s = f"resources.backend_parameters.{name}", getattr(settings, name)
        seconds = _seconds(asked)
        if seconds is None:
            yield Fault(field, f"must be a positive number of seconds, not {asked[:40]!r}")
        elif most_s is not None and seconds > most_s:
            yield Fault(field, f"{seconds:g} s is more than the {most_s:g} s that this server allows")


def _limits_s(document: Mapping[str, Any], settings: DeadlineSettings) -> Iterator[tuple[State, float]]:
    """The shorter of the settings' and the task's, where there is one: settings may change after creation."""
    for state, name in _NAMES.items():
        asked = backend_parameter(document, name)
        limits = (getattr(settings, name), _seconds(asked) if asked is not None else None)
        if set_ones := [limit for limit in limits if limit is not None]:
            yield state, min(set_ones)


def _seconds(text: str) -> float | None:
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,6})?", text):
        return None
    return float(text) or None
