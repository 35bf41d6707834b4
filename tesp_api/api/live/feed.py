"""What changes among all tasks, as a stream: each task that comes into another state, and the counts."""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from tesp_api.api.auth.identity import Action, Identity
from tesp_api.api.auth.permissions import Verdict, may
from tesp_api.api.live.frames import frame
from tesp_api.store.base import TaskStore
from tesp_api.store.glimpses import TaskChange
from tesp_api.tes.states import State
from tesp_api.tes.times import rfc3339

_KEPT = 5000
_REMEMBERED = 20_000

GAP = frame("gap", {})
"""Something was missed: the lists are to be read anew."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A change as its readers get it; None is a gap."""

    change: TaskChange | None
    data: bytes


class Feed:
    """The changes that this process has heard of, the last ones; shared by all who follow them.

    Whoever is so slow that they are gone is told of a gap.
    """

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._cursor: str | None = None
        self._known: OrderedDict[str, tuple[State, int]] = OrderedDict()
        self._kept: deque[_Told] = deque(maxlen=_KEPT)
        self._joined: dict[tuple[int, str | None, tuple[str, ...]], bytes] = {}
        self.end = 0
        """The number of the next change."""

    async def look(self) -> None:
        """Ask the store for what is new."""
        recent = await self._store.recent_changes(self._cursor)
        self._joined = {}
        self._cursor = recent.cursor
        if recent.missed:
            self._add(_Told(None, GAP))
        for change in recent.changes:
            news = (change.state, change.attempt)
            if self._known.get(change.task_id) != news:
                self._known[change.task_id] = news
                self._known.move_to_end(change.task_id)
                self._add(_Told(change, frame("task", _shown(change))))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def after(self, number: int, who: Identity) -> bytes:
        """What the reader sees of the changes from this number on."""
        if number == self.end:
            return b""
        audience = (number, None, ()) if who.is_admin else (number, who.owner, tuple(who.groups))
        if audience not in self._joined:
            self._joined[audience] = b"".join(self._seen(number, who))
        return self._joined[audience]

    def _seen(self, number: int, who: Identity) -> Iterator[bytes]:
        new = self.end - number
        if new > len(self._kept):
            yield GAP
        for told in reversed(list(islice(reversed(self._kept), new))):
            if told.change is None or may(who, Action.READ, told.change) is Verdict.ALLOWED:
                yield told.data

    def _add(self, told: _Told) -> None:
        self._kept.append(told)
        self.end += 1


class CountsTold:
    """What one reader was told of the counts: once a second at most, and only if they have changed."""

    EVERY_S = 1.0

    def __init__(self) -> None:
        self._last: bytes = b""
        self._due_at = 0.0
        self._is_stale = True

    def spoil(self) -> None:
        """They may have changed."""
        self._is_stale = True

    @property
    def wait_s(self) -> float | None:
        """How long until they are to be looked at; None if that is not known."""
        return max(0.0, self._due_at - time.monotonic()) if self._is_stale else None

    def take(self, data: bytes) -> bytes:
        """What to send, now that they have been looked at."""
        self._is_stale = False
        self._due_at = time.monotonic() + self.EVERY_S
        news, self._last = (data if data != self._last else b""), data
        return news


def _shown(change: TaskChange) -> dict[str, object]:
    return {
        "id": change.task_id,
        "state": change.state,
        "attempt": change.attempt,
        "at": rfc3339(change.at),
    }
