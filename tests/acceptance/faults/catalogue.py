"""All scenarios, and the reasons for those that there are not."""

from collections.abc import Iterator

from tests.acceptance.faults import (
    clock_jumps,
    disk_full,
    docker_killed,
    outages,
    replicas_killed,
    runs_killed,
    server_killed,
    storage_cut,
    workers_killed,
)
from tests.acceptance.faults.scenario import Absence, Scenario
from tests.acceptance.faults.worlds import KINDS, MONGODB_EMBEDDED, SQLITE_EMBEDDED

MODULES = (
    server_killed,
    replicas_killed,
    outages,
    storage_cut,
    clock_jumps,
    disk_full,
    workers_killed,
    docker_killed,
    runs_killed,
)
"""Each has `scenarios()` and `absences()`, and in `FAULTS` the names of the faults that it brings about."""


QUICK_S = 4.0


def all_faults() -> list[str]:
    return [fault for module in MODULES for fault in module.FAULTS]


def all_scenarios() -> Iterator[Scenario]:
    for module in MODULES:
        yield from module.scenarios()


def quick_scenarios() -> list[Scenario]:
    """Those that take some seconds, each with a task in every phase: a paused part is soon itself again."""
    brief = [
        outages.scenario_of(outage, kind, goes_on=goes_on, lasts_s=QUICK_S)
        for outage in outages.OUTAGES
        for kind in (SQLITE_EMBEDDED, MONGODB_EMBEDDED)
        if kind in outage.kinds
        for goes_on in outage.ways
    ]
    others = [*clock_jumps.scenarios(), *disk_full.scenarios(), *workers_killed.scenarios()]
    return brief + [one for one in others if one.world.name in (SQLITE_EMBEDDED.name, MONGODB_EMBEDDED.name)]


def all_worlds() -> list[str]:
    """The names of all kinds of worlds, those that everything is played in first."""
    further = [kind for module in (workers_killed, docker_killed) for kind in module.WORLDS]
    return list(dict.fromkeys(kind.name for kind in (*KINDS, *further)))


def all_absences() -> Iterator[Absence]:
    for module in MODULES:
        yield from module.absences()
    yield Absence("*", "*", "*+docker", "what runs the containers plays no part in it: see without Docker")
