"""The disk of the site is full: nothing can be written into the directories of jobs."""

from collections.abc import Iterator

from tests.acceptance.faults.cast import Cast
from tests.acceptance.faults.courses import Course
from tests.acceptance.faults.fittings import fitted
from tests.acceptance.faults.invariants import check_world
from tests.acceptance.faults.scenario import ALL, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import KINDS, World
from tests.services.small_disk import SmallDisk
from tests.services.tesp import poll

FAULTS = ("disk full",)
WORLDS = KINDS
DISK_BYTES = 32 * 1024 * 1024
LATER = ("queued", "between attempts")
MAY_FAIL = ("launch", "initializing", "running", "between executors", "staging out", "ended")
_FITTED = {kind: fitted(kind) for kind in WORLDS}


def scenarios() -> Iterator[Scenario]:
    for kind in WORLDS:
        yield Scenario(FAULTS[0], ALL, _FITTED[kind], _fill, end_within_s=120)


def absences() -> Iterator[Absence]:
    yield from ()


def _fill(stage: Stage) -> None:
    """Tasks go on while there is no room: each ends well, or says why not; what comes later ends well."""
    world = stage.world
    with SmallDisk(world.staging, DISK_BYTES) as disk:
        told = {"COMPLETE", "SYSTEM_ERROR"}
        cast = Cast(world, dict.fromkeys(MAY_FAIL, told) | dict.fromkeys(LATER, told | {"EXECUTOR_ERROR"}))
        cast.enter()
        stage.cast = cast.tasks
        try:
            disk.fill()
            cast.cancel()
            cast.go_on()
            for phase in MAY_FAIL if world.kind.transport != "amqp" else ():  # its news come by jobs
                poll(lambda: world.has_ended(cast.tasks[phase]), timeout_s=60, why=f"{phase} goes on")  # noqa: B023
        finally:
            disk.free()
            cast.go_on()
        world.create(Course.COMPLETES)
        for task in world.tasks:
            poll(lambda: world.has_ended(task), timeout_s=120, why=f"{task.name} does not end")  # noqa: B023
        _assert_told(world, cast)
        cast.assert_retired_as_before()
        faults, context = check_world(world, 120)
        if faults:
            raise AssertionError("\n".join([*faults, *context]))


def _assert_told(world: World, cast: Cast) -> None:
    for phase in MAY_FAIL:
        task = world.server.get(cast.tasks[phase].id)
        last = (task["logs"][-1].get("system_logs") or [""])[-1]
        assert task["state"] == "COMPLETE" or "disk" in last or "No space" in last, f"{phase}: {last!r}"
