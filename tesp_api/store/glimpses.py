"""What lists and live views need of tasks: little of each, of many at once."""

import secrets
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from tesp_api.tes.states import State

RECENT_MAX = 20_000
"""So many changes can be asked for at once; who has missed more must look at the tasks anew."""

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A row of a list: what tells tasks apart, and no content.

    `destination` is where the last attempt went, also once the task has ended; "" if it went nowhere yet.
    `image` is the first executor's.
    """

    id: str
    owner: str
    state: State
    created_at: datetime
    attempt: int
    name: str = ""
    destination: str = ""
    ended_at: datetime | None = None
    image: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A task that came into another state, and the state in which it is now."""

    task_id: str
    state: State
    attempt: int
    at: datetime
    owner: str
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RecentChanges:
    """Which tasks changed their state, oldest change first, each task once. `cursor` is where to go on.

    `missed` says that there may have been more, of which nothing is known any more.
    """

    changes: list[TaskChange]
    cursor: str
    missed: bool = False


class Recents(Generic[M]):
    """The ids of tasks that this process has changed lately, with the moments. In memory alone."""

    def __init__(self) -> None:
        self._key = secrets.token_hex(4)
        self._count = 0
        self._recent: deque[tuple[str, M]] = deque(maxlen=RECENT_MAX)

    def add(self, task_id: str, moment: M) -> None:
        """The task has just changed."""
        self._count += 1
        self._recent.append((task_id, moment))

    def since(self, cursor: str | None) -> tuple[dict[str, M], str, bool]:
        """What was added after `cursor` was given out, the next cursor, and whether some was missed.

        Without a cursor, nothing; one of another process has missed some.
        """
        here = f"{self._key}.{self._count}"
        if cursor is None:
            return {}, here, False
        key, _, number = cursor.partition(".")
        if key != self._key or not number.isdecimal():
            return {}, here, True
        new = self._count - int(number)
        latest: dict[str, M] = {}
        for task_id, moment in list(self._recent)[-new:] if new > 0 else ():
            latest.pop(task_id, None)
            latest[task_id] = moment
        return latest, here, new > len(self._recent)


def counts_seen(
    rows: Iterable[tuple[str, Collection[str], State, int]], owner: str | None, groups: Collection[str]
) -> dict[State, int]:
    """How many tasks are in each state, of (owner, groups, state, count), that somebody sees.

    `owner` None sees all. States without tasks are left out.
    """
    seen: Counter[State] = Counter()
    for one_owner, shared, state, count in rows:
        if owner is None or one_owner == owner or not set(groups).isdisjoint(shared):
            seen[state] += count
    return {state: count for state, count in seen.items() if count > 0}
