"""All scenarios, and the reasons for those that there are not."""

from collections.abc import Iterator

from tests.acceptance.faults import replicas_killed, server_killed
from tests.acceptance.faults.scenario import Absence, Scenario

MODULES = (server_killed, replicas_killed)
"""Each has `scenarios()` and `absences()`, and in `FAULTS` the names of the faults that it brings about."""


def all_faults() -> list[str]:
    return [fault for module in MODULES for fault in module.FAULTS]


def all_scenarios() -> Iterator[Scenario]:
    for module in MODULES:
        yield from module.scenarios()


def all_absences() -> Iterator[Absence]:
    for module in MODULES:
        yield from module.absences()
