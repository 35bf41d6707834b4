"""What the matrix is made of: scenarios, and reasons for those that there cannot be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random

from tests.acceptance.faults.courses import Tracked
from tests.acceptance.faults.worlds import World, WorldKind

PHASES = (
    "queued",  # stored, without a job
    "launch",  # it has a job, whose worker has not begun
    "initializing",  # inputs are being fetched
    "running",  # an executor runs
    "between executors",
    "staging out",
    "ended",  # the worker has ended, its result is not stored yet
    "cleaning",  # the end is stored, the job's directory is still there
    "retired",
    "canceling",  # a cancel is stored, the end is not
    "between attempts",  # an attempt has failed, the next one has no job yet
)
"""The rows of the matrix, in the order of a task's life."""

ALL = "(all)"
"""The phase of a scenario that has a task in each of several: `Stage.cast` says which."""

RETIRING = 0
"""In place of a step's number: that which retires the task, whatever its number is this time."""
RETRYING = -1
"""The same: that which gives another attempt its job."""

SURVEY = "(survey)"
"""The phase of a scenario without a fault of its own, which finds out what others there can be."""

ANY_PHASE = "(any)"
"""The phase of a scenario of many tasks, which stands beside the matrix."""

END_WITHIN_S = 180.0


@dataclass(slots=True)
class Stage:
    """Where a scenario is played.

    It may correct `phase`, where that is only known afterwards, add `further` scenarios to be played, and
    leave a `note` for the report. With a `cast`, of tasks by their phase, what is wrong with one of them is
    wrong in that phase alone, and all else in every one of them.
    """

    world: World
    random: Random
    phase: str
    further: "list[Scenario]" = field(default_factory=list)
    note: str = ""
    cast: "Mapping[str, Tracked]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault in one phase of a task, in a world of some kind; `detail` tells it from others of that cell.

    When `run` returns, all must be mended; every task must have ended, and been cleaned up, `end_within_s`
    later.
    """

    fault: str
    phase: str
    world: WorldKind
    run: Callable[[Stage], None]
    detail: str = ""
    end_within_s: float = END_WITHIN_S

    @property
    def name(self) -> str:
        return "/".join(part for part in (self.fault, self.world.name, self.phase, self.detail) if part)


@dataclass(frozen=True, slots=True)
class Absence:
    """Why there are no scenarios in some cells: patterns of fault, phase and world, as the shell has them."""

    fault: str
    phase: str
    world: str
    reason: str

    def covers(self, fault: str, phase: str, world: str) -> bool:
        pairs = ((fault, self.fault), (phase, self.phase), (world, self.world))
        return all(fnmatchcase(name, pattern) for name, pattern in pairs)
