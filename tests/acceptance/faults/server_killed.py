"""kill -9 of the server."""

from collections.abc import Iterator

from tests.acceptance.faults.courses import Course
from tests.acceptance.faults.scenario import Absence, Scenario, Stage
from tests.acceptance.faults.worlds import KINDS

FAULTS = ("server killed",)


def scenarios() -> Iterator[Scenario]:
    for kind in KINDS:
        for hold in ("initializing", "running", "staging out"):
            yield Scenario("server killed", hold, kind, _kill_held)


def absences() -> Iterator[Absence]:
    yield from ()


def _kill_held(stage: Stage) -> None:
    world = stage.world
    hold = stage.phase
    assert hold in ("initializing", "running", "staging out")
    task = world.create(Course.COMPLETES, hold=hold)  # type: ignore[arg-type]
    world.server.kill()
    world.server.start()
    world.let_go(task)
