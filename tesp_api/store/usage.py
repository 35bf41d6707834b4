"""What users have in a store, and what they may have at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tesp_api.errors import LimitReached

Measure = Literal["live_tasks", "stored_tasks", "stored_log_bytes"]

ASK_AGAIN_S = 10.0
"""Room comes when tasks end or are deleted, and nobody knows when: asking sooner is hardly of use."""

_ADVICE: dict[Measure, str] = {
    "live_tasks": "wait until tasks have ended, or cancel some",
    "stored_tasks": "delete tasks that have ended",
    "stored_log_bytes": "delete tasks that have ended, whose logs go with them",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tasks that have not ended; all tasks; and how much of their output, events and the like is kept."""

    live_tasks: int = 0
    stored_tasks: int = 0
    stored_log_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit for creating tasks: `most` of a measure, of the task's owner or `of_all`.

    `setting` is its name in the settings.
    """

    setting: str
    measure: Measure
    most: int
    of_all: bool = False

    def reached(self, used: int) -> LimitReached:
        """The error that says so."""
        return LimitReached(
            self.setting, self.most, used, retry_after_s=ASK_AGAIN_S, advice=_ADVICE[self.measure]
        )


def check_caps(caps: Sequence[Cap], own: Usage, of_all: Usage) -> LimitReached | None:
    """The first limit that leaves no room for one task more."""
    for cap in caps:
        used: int = getattr(of_all if cap.of_all else own, cap.measure)
        if used >= cap.most:
            return cap.reached(used)
    return None
