"""A task in each phase of its life, so that one fault comes over all of them at once."""

import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tests.acceptance.faults.courses import Course, Tracked, runs_file
from tests.acceptance.faults.fittings import Fittings, fittings_of
from tests.acceptance.faults.worlds import World
from tests.services.tesp import poll

ENTER_WITHIN_S = 120.0
END_WITHIN_S = 10.0
NO_OTHERS: Mapping[str, Collection[str]] = MappingProxyType({})
COURSES = {"canceling": Course.CANCELED, "between attempts": Course.RETRIED}
WAITING_IN_THEIR_SECOND = ("running", "ended", "cleaning", "between attempts")
"""Phases of those that wait in their second executor, at first or in the end."""


class Cast:
    """`tasks` by their phase, once they have entered; each waits where it is until it is let go.

    Six of them, and the first attempt of a seventh, fill all places for jobs (`PLACES`): what comes then is
    "queued". When that attempt fails "running" takes its place, and the seventh is "between attempts".
    """

    def __init__(self, world: World, ends: Mapping[str, Collection[str]] = NO_OTHERS) -> None:
        self.world = world
        self._ends = ends
        self.tasks: dict[str, Tracked] = {}
        self._fittings: Fittings = fittings_of(world)
        self._busy = ""
        self._retired: dict[str, Any] = {}

    def enter(self) -> None:
        """Bring a task into each phase."""
        self._enter_ended()
        for phase in ("launch", "initializing", "between executors", "staging out", "ended", "canceling"):
            self._begin(phase)
        self._begin("between attempts")
        for phase in list(self.tasks):
            self._await(phase)
        for phase in ("running", "queued"):
            self._begin(phase)
        self.world.let_go(self.tasks["between attempts"])
        self._await("running")
        self._poll(self._is_between_attempts, "between attempts")
        assert self.world.state_of(self.tasks["queued"]) == "QUEUED"

    def cancel(self) -> None:
        """Have the task canceled that is to be."""
        self.world.cancel(self.tasks["canceling"])

    def let_end(self) -> None:
        """Let a worker end, and return when it has, or waits for a permit that it cannot have now."""
        task = self.tasks["ended"]
        self.world.let_go(task)
        result = self._directory_of(task) / "metadata" / "tesp" / "result.json"
        deadline = time.monotonic() + END_WITHIN_S
        while not result.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def let_clean(self) -> None:
        """Let the directory be removed that is in use."""
        if self._busy:
            subprocess.run(["umount", "--lazy", self._busy], check=True)
            self._busy = ""

    def go_on(self) -> None:
        """Let every task go on."""
        self.let_clean()
        for task in self.tasks.values():
            self._fittings.open(task.name)
            self.world.let_go(task)

    def assert_retired_as_before(self) -> None:
        """Nothing may change of a task that had ended. The server may need a moment for its store."""
        self._poll(lambda: self.world.state_of(self.tasks["retired"]), "retired")
        assert self.world.server.get(self.tasks["retired"].id) == self._retired

    # -- the phases

    def _enter_ended(self) -> None:
        """Two that have ended: one is cleaned up, of the other the directory cannot be removed yet."""
        self._begin("retired")
        self._begin("cleaning")
        busy, retired = self.tasks["cleaning"], self.tasks["retired"]
        self._await("cleaning")
        place = self._directory_of(busy) / "in-use"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", place], check=True)
        self._busy = str(place)
        self.world.let_go(busy)
        self._poll(lambda: self.world.has_ended(busy), "cleaning")
        self._poll(lambda: self.world.has_ended(retired), "retired")
        self._poll(lambda: not self._directory_of(retired).exists(), "retired")
        self._retired = self.world.server.get(retired.id)

    def _begin(self, phase: str) -> None:
        course = COURSES.get(phase, Course.COMPLETES)
        draft = self.world.draft(course, waits=phase in WAITING_IN_THEIR_SECOND)
        path = {"initializing": f"/{draft.name}/in", "staging out": f"/{draft.name}/out"}.get(phase)
        if path is not None:
            self.world.web.held.add(path)
        if phase == "launch" or phase == "between executors":
            self._fittings.shut(phase, draft.name)
        task_id = self.world.server.create(draft.document)
        task = self.world.accepted(draft, task_id)
        if phase in self._ends:
            task = replace(task, ends=set(self._ends[phase]))
            self.world.tasks[-1] = task
        self.tasks[phase] = task

    def _await(self, phase: str) -> None:
        task = self.tasks[phase]
        if phase == "launch" or phase == "between executors":
            self._poll(lambda: self._fittings.is_held(phase, task.name), phase)
        elif phase in ("initializing", "staging out"):
            path = f"/{task.name}/{'in' if phase == 'initializing' else 'out'}"
            self._poll(lambda: path in self.world.web.waiting, phase)
        elif phase in WAITING_IN_THEIR_SECOND:
            self._poll(lambda: self._has_run(task, executors=2), phase)
        elif phase == "canceling":
            self._poll(lambda: self._has_run(task, executors=1), phase)

    def _has_run(self, task: Tracked, *, executors: int) -> bool:
        file = runs_file(self.world.shared, task.name)
        return file.exists() and len(file.read_text().splitlines()) >= executors

    def _is_between_attempts(self) -> bool:
        task = self.world.server.get(self.tasks["between attempts"].id)
        return task["state"] == "QUEUED" and len(task.get("logs", [])) == 1

    def _directory_of(self, task: Tracked) -> Any:
        return self.world.staging / f"{task.id}-1"

    def _poll(self, what: Callable[[], Any], phase: str) -> None:
        why = f"no task comes to {phase!r}\n{self.world.server.log[-3000:]}"
        poll(what, timeout_s=ENTER_WITHIN_S, why=why)
