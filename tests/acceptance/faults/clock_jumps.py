"""The wall clock of the server jumps by an hour, forward or backward."""

import time
from collections.abc import Iterator
from dataclasses import replace

from tests.acceptance.faults.cast import Cast
from tests.acceptance.faults.fittings import fitted
from tests.acceptance.faults.scenario import ALL, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import KINDS, WorldKind
from tests.services.jumping_clock import JumpingClock

FAULTS = ("clock forward", "clock backward")
HOUR_S = 3600
SETTLES_S = 8.0
"""Longer than a lease of these worlds."""
_DEADLINES = tuple(
    (f"TESP_API_DEADLINES__{state}_S", "1800") for state in ("QUEUED", "INITIALIZING", "RUNNING")
)
_CLOCKS: dict[WorldKind, JumpingClock] = {}


def _with_clock(kind: WorldKind) -> WorldKind:
    fitting = fitted(kind, *_DEADLINES, app="tests.acceptance.faults.clock_app:app")
    clock = JumpingClock(fitting.through.folder)  # type: ignore[attr-defined]
    settings = (*fitting.settings, *clock.environment.items())
    fitting = replace(fitting, settings=settings)
    _CLOCKS[fitting] = clock
    return fitting


_FITTED = {kind: _with_clock(kind) for kind in KINDS}


def scenarios() -> Iterator[Scenario]:
    for kind in KINDS:
        for fault, ahead_s in zip(FAULTS, (HOUR_S, -HOUR_S), strict=True):

            def run(stage: Stage, ahead_s: int = ahead_s) -> None:
                _jump(stage, ahead_s)

            yield Scenario(fault, ALL, _FITTED[kind], run, end_within_s=120)


def absences() -> Iterator[Absence]:
    yield from ()


def _jump(stage: Stage, ahead_s: int) -> None:
    """With deadlines of half an hour, which nothing here comes near to."""
    world, clock = stage.world, _CLOCKS[stage.world.kind]
    clock.set(0)
    cast = Cast(world)
    cast.enter()
    stage.cast = cast.tasks
    try:
        cast.cancel()
        clock.set(ahead_s)
        cast.let_end()
        time.sleep(SETTLES_S)
    finally:
        cast.go_on()
    cast.assert_retired_as_before()
