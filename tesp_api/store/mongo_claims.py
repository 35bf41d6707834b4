"""Claims in MongoDB: taking, extending and giving up the right to drive tasks.

Several processes ask at once. A claim is one conditional update of each task's document, so that one of
them gets it; what a call got is found by the call's own mark, since the update does not tell.
"""

import asyncio
import math
import re
import secrets
import time
from typing import Any

from bson.int64 import Int64
from pymongo.errors import ServerSelectionTimeoutError

from tesp_api.store.base import Task
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_documents import WITHOUT_THE_REST, Collection, Document, to_task
from tesp_api.store.mongo_schema import Index
from tesp_api.store.turns import Shares, Turns
from tesp_api.tes.states import State

_WAITING: Document = {"live": True, "begun": False, "free_at": 0}


class MongoClaims:
    """The claims of this process's owners."""

    def __init__(self, tasks: Collection, clock: MongoClock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._unanswered: dict[str, float | None] = {}
        """Calls whose outcome is not known; if it never will be, until when that matters, by the monotonic
        clock. What they may have taken is driven by nobody: it is not extended, so that its lease ends and it
        can be claimed again. So it is one lease after the database has answered again."""

    async def take(
        self, owner: str, *, lease_s: float, new_limit: int, shares: Shares, server: str, away_s: float
    ) -> list[Task]:
        """Claim what is free: all that has begun, and up to `new_limit` that has not, dealt out by turns.

        What has a job that only another server reaches is left to it until it has been away for so long.
        """
        call = secrets.token_hex(8)
        self._unanswered[call] = None
        try:
            found = await self._take(owner, call, lease_s, new_limit, shares, server, away_s)
        except BaseException:
            if call in self._unanswered:
                self._unanswered[call] = math.inf
            raise
        del self._unanswered[call]
        return sorted(found, key=lambda task: task.id)

    async def _take(
        self, owner: str, call: str, lease_s: float, limit: int, shares: Shares, server: str, away_s: float
    ) -> list[Task]:
        change = self._claiming(owner, call, lease_s)
        reached = [{"job.server": {"$in": [None, "", server]}}, self._clock.reached("free_at", away_s)]
        begun = {"begun": True, **self._free(), "$or": reached}
        try:
            taken = await self._update(begun, change, hint=Index.CLAIMABLE)
        except ServerSelectionTimeoutError:  # nothing was sent
            del self._unanswered[call]
            raise
        if limit > 0:
            await self._free_expired_new()
            taken += await self._take_new(limit, shares, change)
        if not taken:
            return []
        cursor = self._tasks.find({"claim.owner": owner, "claim.call": call}, WITHOUT_THE_REST)
        return [to_task(document) async for document in cursor.hint(Index.BY_CLAIM)]

    async def extend(self, owner: str, *, lease_s: float) -> dict[str, State]:
        """Let all claims of `owner` end `lease_s` from now; return the states of its tasks."""
        mine: Document = {"claim.owner": owner, "claim.call": {"$nin": list(self._unanswered)}}
        await self._tasks.update_many(mine, [{"$set": {"free_at": self._clock.after(lease_s)}}])
        self._forget_unanswered(lease_s)
        held = self._tasks.find(mine, {"_id": 1, "state": 1}).hint(Index.BY_CLAIM)
        return {document["_id"]: State(document["state"]) async for document in held}

    async def list_canceling(self, owner: str) -> frozenset[str]:
        """Those of `owner`'s tasks whose cancel was asked for; of all tasks few are being canceled."""
        mine: Document = {"live": True, "state": State.CANCELING, "claim.owner": owner}
        found = self._tasks.find(mine, {"_id": 1}).hint(Index.LIVE_STATES)
        return frozenset([document["_id"] async for document in found])

    async def drop(self, owner: str) -> None:
        """End all claims of `owner`. Epochs stay: an old claim never becomes valid again."""
        await self._drop({"claim.owner": owner})

    async def drop_server(self, server: str) -> None:
        """End the claims of all owners whose names begin with `server` and a colon."""
        await self._drop({"live": True, "claim.owner": {"$regex": f"^{re.escape(server)}:"}})

    # --

    def _forget_unanswered(self, lease_s: float) -> None:
        """The database has just answered: from now on one lease, then what such calls took is free."""
        now = time.monotonic()
        for call, until in list(self._unanswered.items()):
            if until == math.inf:
                self._unanswered[call] = now + lease_s
            elif until is not None and until <= now:
                del self._unanswered[call]

    async def _drop(self, where: Document) -> None:
        """Free from now on, where others count how long ago that was."""
        has_server = {"$gt": ["$job.server", ""]}  # what is missing is less than any text
        free_at = {"$cond": [has_server, self._clock.now(), Int64(0)]}
        await self._tasks.update_many(where, [{"$set": {"free_at": free_at}}, {"$unset": "claim"}])

    async def _free_expired_new(self) -> None:
        """End the claims of those without a job whose leases are over: they wait as if never claimed."""
        expired = {"live": True, "begun": False, "free_at": {"$gt": 0}, **self._clock.reached("free_at")}
        change: list[Document] = [{"$set": {"free_at": Int64(0)}}, {"$unset": "claim"}]
        await self._tasks.update_many(expired, change, hint=Index.CLAIMABLE)

    async def _take_new(self, limit: int, shares: Shares, change: list[Document]) -> int:
        """Claim up to `limit` of those that wait, by turns; returns how many.

        Where another process is faster, the next ones are tried.
        """
        turns, taken = Turns(await self._heads(), shares), 0
        while ids := await self._choose(turns, limit - taken):
            taken += await self._update({"_id": {"$in": ids}, **_WAITING}, change)
        return taken

    async def _heads(self) -> dict[str, str]:
        """The oldest that waits of each owner: one look into the index for each of them."""
        cursor = await self._tasks.aggregate(
            [
                {"$match": _WAITING},
                {"$sort": {"live": 1, "begun": 1, "free_at": 1, "owner": 1, "_id": 1}},
                {"$group": {"_id": "$owner", "first": {"$first": "$_id"}}},
            ],
            hint=Index.CLAIMABLE,
        )
        return {found["_id"]: found["first"] async for found in cursor}

    async def _choose(self, turns: Turns, limit: int) -> list[str]:
        chosen: list[str] = []
        while dealt := turns.deal(limit - len(chosen)):
            parts = await asyncio.gather(*(self._oldest(turns, *one) for one in dealt.items()))
            chosen += [task_id for part in parts for task_id in part]
        return chosen

    async def _oldest(self, turns: Turns, owner: str, count: int) -> list[str]:
        where = {**_WAITING, "owner": owner, "_id": {"$gt": turns.after(owner)}}
        cursor = self._tasks.find(where, {"_id": 1}, hint=Index.CLAIMABLE).sort("_id", 1).limit(count)
        ids = [found["_id"] async for found in cursor]
        turns.give(owner, ids, count)
        return ids

    async def _update(self, where: Document, change: list[Document], hint: str | None = None) -> int:
        return (await self._tasks.update_many(where, change, hint=hint)).modified_count

    def _free(self) -> Document:
        return {"live": True, **self._clock.reached("free_at")}

    def _claiming(self, owner: str, call: str, lease_s: float) -> list[Document]:
        claim: Any = {"$literal": {"owner": owner, "call": call}}
        return [
            {
                "$set": {
                    "claim": claim,
                    "epoch": {"$add": ["$epoch", 1]},
                    "free_at": self._clock.after(lease_s),
                }
            }
        ]
