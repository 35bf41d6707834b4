"""The wall clock of the server jumps by an hour, forward or backward."""

import time
from collections.abc import Iterator
from dataclasses import replace

from tests.acceptance.faults.cast import Cast
from tests.acceptance.faults.fittings import Fittings, fitted
from tests.acceptance.faults.scenario import ALL, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import KINDS, WorldKind
from tests.services.jumping_clock import JumpingClock

FAULTS = ("clock forward", "clock backward")
HOUR_S = 3600
SETTLES_S = 8.0
"""Longer than a lease of these worlds."""
_DEADLINES = {f"TESP_API_DEADLINES__{state}_S": "1800" for state in ("QUEUED", "INITIALIZING", "RUNNING")}


class _Clock:
    """The clock of a kind of world, and that world's settings, which are asked for when it begins."""

    def __init__(self, kind: WorldKind) -> None:
        self._fitted = fitted(kind, _DEADLINES)
        self.kind = replace(self._fitted, settings=self)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from self._fitted.settings
        fittings = self._fitted.through
        assert isinstance(fittings, Fittings)
        self.clock = JumpingClock(fittings.folder)
        yield from self.clock.environment.items()


_CLOCKS = tuple(_Clock(kind) for kind in KINDS)


def scenarios() -> Iterator[Scenario]:
    for clock in _CLOCKS:
        for fault, ahead_s in zip(FAULTS, (HOUR_S, -HOUR_S), strict=True):

            def run(stage: Stage, clock: _Clock = clock, ahead_s: int = ahead_s) -> None:
                _jump(stage, clock.clock, ahead_s)

            yield Scenario(fault, ALL, clock.kind, run, end_within_s=120)


def absences() -> Iterator[Absence]:
    yield from ()


def _jump(stage: Stage, clock: JumpingClock, ahead_s: int) -> None:
    """With deadlines of half an hour, which nothing here comes near to."""
    clock.set(0)
    cast = Cast(stage.world)
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
