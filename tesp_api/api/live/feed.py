"""What changes among all tasks, as a stream: each task that comes into another state, and the counts."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from tesp_api.api.auth.identity import Action, Identity
from tesp_api.api.auth.permissions import Verdict, may
from tesp_api.api.live.frames import Step, frame
from tesp_api.errors import StoreUnavailable
from tesp_api.store.base import TaskStore
from tesp_api.store.glimpses import TaskChange
from tesp_api.tes.states import State
from tesp_api.tes.times import rfc3339

_KEPT = 5000
_REMEMBERED = 20_000
COUNTS_EVERY_S = 1.0

Audience = tuple[str | None, tuple[str, ...]]
"""An owner and groups; no owner for who sees everything."""

GAP = frame("gap", {})
"""Something was missed: the lists are to be read anew."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A change as its readers get it; None is a gap."""

    change: TaskChange | None
    data: bytes


@dataclass(frozen=True, slots=True)
class FeedPlace:
    """How far a reader is: all changes before a number, and the counts as they were told."""

    number: int
    counts: bytes = b""


@dataclass(slots=True)
class _Counts:
    data: bytes = b""
    due_at: float = 0.0
    is_rung: bool = False


class Feed:
    """The changes that this process has heard of, the last ones; shared by all who follow them.

    Whoever is so slow that they are gone is told of a gap. `ring_in` has those who follow look again later.
    """

    def __init__(self, store: TaskStore, ring_in: Callable[[float], None]) -> None:
        self._store = store
        self._ring_in = ring_in
        self._counts: dict[Audience, _Counts] = {}
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

    async def step(self, place: FeedPlace, who: Identity) -> Step[FeedPlace]:
        """What comes after a place: the changes, and the counts if they are others by now."""
        data, number = self.after(place.number, who), self.end
        counts = await self._counts_for(audience_of(who)) or place.counts
        if counts != place.counts:
            data += counts
        return Step(data, FeedPlace(number, counts))

    async def _counts_for(self, audience: Audience) -> bytes:
        """The counts, asked for once a second at most; what comes sooner is told then. "" if unknown."""
        known = self._counts.setdefault(audience, _Counts())
        now = time.monotonic()
        if now < known.due_at:
            if not known.is_rung:
                known.is_rung = True
                self._ring_in(known.due_at - now)
            return known.data
        known.due_at, known.is_rung = now + COUNTS_EVERY_S, False
        try:
            known.data = frame("counts", counts_shown(await self._store.counts(*audience)))
        except StoreUnavailable:
            return known.data
        return known.data

    def after(self, number: int, who: Identity) -> bytes:
        """What the reader sees of the changes from this number on."""
        if number == self.end:
            return b""
        audience = (number, *audience_of(who))
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


def audience_of(who: Identity) -> Audience:
    """Who is told the same."""
    return (None, ()) if who.is_admin else (who.owner, tuple(sorted(who.groups)))


def counts_shown(counts: Mapping[State, int]) -> dict[str, dict[str, int]]:
    """Counts as clients see them."""
    return {"states": {str(state): count for state, count in sorted(counts.items())}}


def _shown(change: TaskChange) -> dict[str, object]:
    return {
        "id": change.task_id,
        "state": change.state,
        "attempt": change.attempt,
        "at": rfc3339(change.at),
    }
