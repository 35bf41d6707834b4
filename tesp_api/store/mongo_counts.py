"""How many tasks are in which state, in MongoDB.

No count is kept beside the tasks: it would be wrong after the next kill, since a change of a task is one
change of one document. What changes is counted off small indexes each time: the tasks that are live, and
those that ended since a moment; those that ended before it are counted once, and again now and then, since
tasks are deleted. A task ends once, at a time that its document has, so none is counted twice or left out.
That moment
lies a little back: what is being written by others is then certainly there.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence

import pymongo

from tesp_api.store.glimpses import counts_seen
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_counting import ENDED, LIVE, used_for_s
from tesp_api.store.mongo_documents import Database, Document, read_groups
from tesp_api.store.mongo_schema import Index
from tesp_api.tes.states import State

_FRESH_S = 0.5
_PATIENCE_S = 0.5
_CENSUS_FRESH_S = 30.0
_BACK_MICROS = 5_000_000
_TIMEOUT_S = 60.0

_AUDIENCE = {"owner": "$owner", "groups": "$groups", "state": "$state"}
_Key = tuple[str, tuple[str, ...], State]


class MongoCounts:
    """The counts as one process knows them."""

    def __init__(self, db: Database, clock: MongoClock) -> None:
        self._db = db
        self._clock = clock
        self._lock = asyncio.Lock()
        self._census: Counter[_Key] = Counter()
        self._until: int | None = None
        self._census_due_at = 0.0
        self._counting: asyncio.Task[None] | None = None
        self._known: Counter[_Key] = Counter()
        self._due_at = 0.0

    async def read(self, owner: str | None, groups: Sequence[str]) -> dict[State, int]:
        """The counts of the tasks that somebody sees; None sees all."""
        async with self._lock:
            if time.monotonic() >= self._due_at:
                await self._refresh()
        return counts_seen(((*key, count) for key, count in self._known.items()), owner, groups)

    def forget(self) -> None:
        """Tasks were deleted: what has been counted is too much."""
        self._due_at = self._census_due_at = 0.0

    async def aclose(self) -> None:
        """End what is being counted."""
        if self._counting is not None:
            self._counting.cancel()
            with contextlib.suppress(BaseException):
                await self._counting

    async def _refresh(self) -> None:
        began_at = time.monotonic()
        is_due = self._until is None or began_at >= self._census_due_at
        if is_due and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._take_census(), name="count the tasks that have ended")
            self._counting.add_done_callback(_look_at)
            await asyncio.wait([self._counting], timeout=_PATIENCE_S)  # of few tasks it takes no longer
        if self._until is None and self._counting is not None:  # it goes on if who asks does not wait for it
            await asyncio.shield(self._counting)
        census, until = self._census, self._until  # which belong together, and may change meanwhile
        live = await self._count({"live": True, "state": {"$in": LIVE}}, Index.LIVE_STATES)
        ended = await self._count({"ended_at": {"$gt": until}, "state": {"$in": ENDED}}, Index.ENDINGS)
        self._known = census + live + ended
        now = time.monotonic()
        self._due_at = now + used_for_s(now - began_at, _FRESH_S)

    async def _take_census(self) -> None:
        began_at = time.monotonic()
        self._census_due_at = began_at + _CENSUS_FRESH_S  # of deletions that come meanwhile, too
        told = await self._db.meta.find_one(
            {"_id": "schema"}, {"now": {"$subtract": [self._clock.now(), _BACK_MICROS]}}
        )
        until = int(told["now"]) if told else 0
        where = {"ended_at": {"$gt": 0, "$lte": until}, "state": {"$in": ENDED}}
        with pymongo.timeout(_TIMEOUT_S):
            census = await self._count(where, Index.ENDINGS)
        self._census, self._until = census, until
        now = time.monotonic()
        self._census_due_at = max(self._census_due_at, now + used_for_s(now - began_at, 0))

    async def _count(self, where: Document, index: Index) -> Counter[_Key]:
        """By owner, groups and state, from the index alone."""
        steps: list[Document] = [{"$match": where}, {"$group": {"_id": _AUDIENCE, "count": {"$sum": 1}}}]
        cursor = await self._db.tasks.aggregate(steps, hint=index)
        found: Counter[_Key] = Counter()
        async for one in cursor:
            about = one["_id"]
            found[about["owner"], read_groups(about), State(about["state"])] = int(one["count"])
        return found


def _look_at(done: "asyncio.Task[None]") -> None:
    """A count that failed is made again later: nobody needs to hear of it."""
    if not done.cancelled():
        done.exception()
