"""kill -9 of the server at every step of a task: each write of the store and each call of the transport.

The steps are not listed anywhere: a survey has a task of each course run through, with its steps counted, and
for each of them comes a scenario in which the server kills itself before it, and one after it. Before a step
that only looks is enough, since it changes nothing. What a transport is made of is counted where it is used:
requests of REST, messages of AMQP with what the mailbox keeps, and of the embedded Pulsar its own steps.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import httpx

from tests.acceptance.faults.courses import Course, Tracked, runs_file
from tests.acceptance.faults.scenario import RETIRING, RETRYING, SURVEY, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import KINDS, MONGODB_EMBEDDED, SQLITE_EMBEDDED, Hold, World, WorldKind
from tests.services.tesp import FINAL

FAULTS = ("server killed",)
APP = "tests.acceptance.faults.killing_app:app"


def _counted(kind: WorldKind) -> str:
    """The parts of the server whose steps are counted: what is the same in two kinds is played in one."""
    both = {SQLITE_EMBEDDED: "store transport", MONGODB_EMBEDDED: "store"}
    return both.get(kind, "transport mailbox")


KINDS_OF_IT = tuple(replace(kind, app=APP, settings=(("FAULTS_COUNTED", _counted(kind)),)) for kind in KINDS)
_WITHIN_S = 180.0
_POLL_S = 0.03


def scenarios() -> Iterator[Scenario]:
    for kind in KINDS_OF_IT:
        for course in Course:
            yield Scenario("server killed", SURVEY, kind, partial(_survey, course), detail=course)
        for hold in get_args(Hold)[1:]:
            yield Scenario("server killed", hold, kind, partial(_kill_while, hold), detail="held")


def absences() -> Iterator[Absence]:
    for kind in KINDS:
        for phase in ("queued", "retired"):
            if "store" not in _counted(kind):
                reason = "nothing but writes of the store come then; they are the same in the embedded kinds"
                yield Absence("server killed", phase, kind.name, reason)
        reason = "too short for a call of the transport to fall into it every time; see the embedded kinds"
        if kind.transport != "embedded":
            yield Absence("server killed", "between executors", kind.name, reason)


def _kill_while(hold: Hold, stage: Stage) -> None:
    """Kill the server while the task is held in a phase, and let that go on before it is up again."""
    world = stage.world
    task = world.create(Course.COMPLETES, hold=hold)
    world.server.kill()
    world.let_go(task)
    world.server.start()


def _survey(course: Course, stage: Stage) -> None:
    """Count the steps of a task that nothing disturbs."""
    kill = _Kill(stage.world, course, "never", 0)
    kill.play()
    steps = kill.steps()
    stage.note = f"{len(steps)} steps"
    for step in steps:
        for when in ("before", "after") if step["changes"] and step["name"] != "claim" else ("before",):
            detail = f"{course}/{when}-{step['number']:03d}"
            run = partial(_kill_at, course, when, step["number"])
            stage.further.append(Scenario("server killed", step["phase"], stage.world.kind, run, detail))
        if step["name"] == "retire":
            run = partial(_kill_at, course, "after", RETIRING)
            detail = f"{course}/after-retire"
            stage.further.append(Scenario("server killed", "retired", stage.world.kind, run, detail))
        elif (step["name"], step["phase"]) == ("update", "between attempts"):
            run = partial(_kill_at, course, "before", RETRYING)
            detail = f"{course}/before-next"
            stage.further.append(Scenario("server killed", step["phase"], stage.world.kind, run, detail))


def _kill_at(course: Course, when: str, number: int, stage: Stage) -> None:
    kill = _Kill(stage.world, course, when, number)
    kill.play()
    killed = kill.killed()
    if killed is None:
        stage.phase = SURVEY  # nothing was killed, so it counts nowhere
        stage.note = f"its steps were only {len(kill.steps())} this time"
    else:
        stage.phase = killed["phase"]
        stage.note = f"killed {when} {killed['name']}"


class _Kill:
    """One task whose server kills itself at a step of it, and is started again."""

    def __init__(self, world: World, course: Course, when: str, number: int) -> None:
        self._world = world
        self._course = course
        self._draft = world.draft(course, tags={"kill": f"{when}:{number}"})
        self._is_canceled = False
        self._was_revived = False

    def play(self) -> None:
        """Return once the server was killed and runs again, or the task was retired without that."""
        deadline = time.monotonic() + _WITHIN_S
        task = self._world.send(self._draft, otherwise=self._revive)
        while self._has_more(task):
            assert time.monotonic() < deadline, f"{task.name} came to no end: {self.steps()[-3:]}"
            self._revive()
            if self._course is Course.CANCELED and not self._is_canceled:
                self._try_to_cancel(task)
            time.sleep(_POLL_S)
        self._revive()

    def steps(self) -> list[dict[str, Any]]:
        file = self._world.folder / f"{self._draft.name}.steps"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def killed(self) -> dict[str, Any] | None:
        """The step at which the server was killed, if it was."""
        file = self._world.folder / f"{self._draft.name}.killed"
        return json.loads(file.read_text()) if file.exists() else None

    def _has_more(self, task: Tracked) -> bool:
        """Whether the kill, or the client's part, is still to come."""
        if self._course is Course.CANCELED and not self._is_canceled:
            return True
        if self.killed() is not None:
            return False
        is_retired = (self._world.folder / f"{self._draft.name}.retired").exists()
        return not (is_retired and self._world.state_of(task) in FINAL)

    def _try_to_cancel(self, task: Tracked) -> None:
        if runs_file(self._world.shared, task.name).exists():
            try:
                self._world.cancel(task)
                self._is_canceled = True
            except httpx.TransportError:
                self._revive()

    def _revive(self) -> None:
        """Start the server again if it was killed."""
        process = self._world.server.process
        assert process is not None
        if self.killed() is not None and not self._was_revived:  # written as it dies
            process.wait(timeout=10)
            self._was_revived = True
            self._world.server.start()
