"""Two servers on one MongoDB and one Pulsar, killed and paused at random while clients create tasks."""

import time
from collections.abc import Iterator
from functools import partial
from random import Random

import httpx

from tests.acceptance.faults.courses import Course, Tracked, runs_file
from tests.acceptance.faults.scenario import ANY_PHASE, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import LEASE_S, World, WorldKind
from tests.services.tesp import TespServer

FAULTS = ()
"""None in the matrix: these come in any phase."""
REPLICAS = WorldKind("mongodb", "rest", channel=True, servers=2)
LONG_S, MANY = 180.0, 200
_COURSES = (*[Course.COMPLETES] * 7, Course.FAILS, Course.RETRIED, Course.CANCELED)
_FAULT_EVERY_S = (1.0, 5.0)
_DOWN_S = (0.0, 4.0)
_PAUSED_S = (1.0, 2.0 * LEASE_S)
_END_WITHIN_S = 300.0


def scenarios() -> Iterator[Scenario]:
    for fault in ("kill", "pause"):
        run = partial(_trouble, fault, LONG_S, MANY)
        name = f"two servers, {MANY} tasks, a {fault} every few seconds for {LONG_S:g} s"
        yield Scenario(name, ANY_PHASE, REPLICAS, run, end_within_s=_END_WITHIN_S)


def absences() -> Iterator[Absence]:
    yield from ()


def _trouble(fault: str, lasts_s: float, many: int, stage: Stage) -> None:
    """Create tasks at an even pace, and cancel some, while now this server is away and now that one."""
    world, random = stage.world, stage.random
    began_at = time.monotonic()
    outages = _Outages(world, random, fault)
    unkilled: list[Tracked] = []
    created = 0
    while (now := time.monotonic() - began_at) < lasts_s or created < many:
        outages.go_on()
        if created < many and now >= created * lasts_s / many:
            course = random.choice(_COURSES)
            task = world.send(
                world.draft(course), at=random.sample(world.servers, 2), otherwise=outages.go_on
            )
            created += 1
            unkilled += [task] if course is Course.CANCELED else []
        unkilled = [task for task in unkilled if not _is_canceled(task, world, random)]
        time.sleep(0.05)
    outages.end()
    for task in unkilled:
        world.cancel_once_it_runs(task)
    stage.note = f"{outages.count} times"


def _is_canceled(task: Tracked, world: World, random: Random) -> bool:
    """Ask for its end, if it runs, at either server."""
    if not runs_file(world.shared, task.name).exists():
        return False
    try:
        world.cancel(task, random.choice(world.servers), timeout_s=2)
    except (httpx.TransportError, AssertionError):  # asked again, and at another one perhaps
        return False
    return True


class _Outages:
    """One server at a time is away; each comes back, and another one follows."""

    def __init__(self, world: World, random: Random, fault: str) -> None:
        self._world = world
        self._random = random
        self._fault = fault
        self._away: TespServer | None = None
        self._next_at = time.monotonic() + random.uniform(*_FAULT_EVERY_S)
        self.count = 0

    def go_on(self) -> None:
        """Do what is due by now."""
        if time.monotonic() < self._next_at:
            return
        if self._away is None:
            self._away = self._random.choice(self._world.servers)
            self._away.kill() if self._fault == "kill" else self._away.pause()
            self.count += 1
            lasts_s = self._random.uniform(*(_DOWN_S if self._fault == "kill" else _PAUSED_S))
        else:
            self.end()
            lasts_s = self._random.uniform(*_FAULT_EVERY_S)
        self._next_at = time.monotonic() + lasts_s

    def end(self) -> None:
        """All are back."""
        if self._away is not None:
            self._away.start() if self._fault == "kill" else self._away.resume()
        self._away = None
