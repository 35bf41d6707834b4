"""What users have in MongoDB, and the room that there is left for them.

Nothing is counted as tasks come and go: a change of a task is one change of one document, and a count beside
it would be wrong after the next kill. Counts are read off the indexes when they are needed. So that this is
seldom, and that several servers together let no more through than there is room for, there is a document for
each owner with limits, and one for all:

    _id                       the owner, after "="; "*" for all
    live_tasks, stored_tasks  never less than there are: what was counted last, and what was let through since
    coming                    [{id, at}] of those that were let through and may not be stored yet
    version                   changes with every change but the end of coming

To let tasks through is one conditional change. Where that finds no room, the count is read anew, those that
are coming are added, and it is written down if nothing was let through meanwhile. What a process that died
has let through comes no more after a minute. A process trusts no count that was written before its own first.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pymongo
from pymongo.errors import DuplicateKeyError

from tesp_api.store.gathering import Gathering
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_documents import Collection, Database, Document
from tesp_api.store.mongo_logs import of_task
from tesp_api.store.mongo_schema import Index
from tesp_api.store.usage import Cap, Usage
from tesp_api.tes.states import FINAL, State

_COMING_S = 60.0
_PATIENCE_S = 0.25
_LOOKS = 5
_PAUSE_S = 0.02
_FRESH_S = 2.0
_COUNT_TIMEOUT_S = 30.0
_COSTS = 20
"""What took long to count is used so many times as long: a twentieth of the time goes into counting."""

_LIVE = [state.value for state in State if state not in FINAL]
_EVERY = [state.value for state in State]
_TASKS = ("live_tasks", "stored_tasks")
_Fresh = tuple[float, Any]


class _Asked(NamedTuple):
    """A task that is to be let through."""

    task_id: str
    owner: str
    caps: Sequence[Cap]


class _Full(NamedTuple):
    """A limit that leaves no room."""

    cap: Cap
    used: int


class MongoUsage:
    """Counts, and lets tasks through: `reserve` before they are stored, `settle` when they are, or not."""

    def __init__(self, db: Database, clock: MongoClock) -> None:
        self._tasks: Collection = db.tasks
        self._rooms: Collection = db.usage
        self._clock = clock
        self._counted: set[tuple[str, str]] = set()
        self._remembered: dict[tuple[str, str], _Fresh] = {}
        self._reserving = Gathering(self._reserve, at_once=1, patience_s=_PATIENCE_S)
        self._settling = Gathering(self._settle, at_once=1, patience_s=_PATIENCE_S)

    async def reserve(self, task_id: str, owner: str, caps: Sequence[Cap]) -> None:
        """Let a task through; `settle` must follow.

        Raises:
            LimitReached: there is no room.
        """
        full = await self._reserving.add(_Asked(task_id, owner, caps))
        if full is not None:
            raise full.cap.reached(full.used)

    async def settle(self, task_id: str, owner: str) -> None:
        """The task is stored, or never will be."""
        await self._settling.add((task_id, owner))

    async def usage(self, owner: str | None) -> Usage:
        """What an owner has, or all."""
        live, stored = [await self._count(owner, measure) for measure in _TASKS]
        return Usage(live, stored, await self._log_bytes(owner))

    # -- letting through

    async def _reserve(self, asked: list[_Asked]) -> Sequence[_Full | None]:
        refused: dict[str, _Full] = {}
        for owner in dict.fromkeys(one.owner for one in asked):
            own = [one for one in asked if one.owner == owner]
            caps = [cap for cap in own[0].caps if not cap.of_all]
            refused |= await self._reserve_in(owner, caps, [one.task_id for one in own])
        left = [one for one in asked if one.task_id not in refused]
        if left:
            caps = [cap for cap in left[0].caps if cap.of_all]
            too_many = await self._reserve_in(None, caps, [one.task_id for one in left])
            if too_many:
                await self._settle([(one.task_id, one.owner) for one in left if one.task_id in too_many])
            refused |= too_many
        return [refused.get(one.task_id) for one in asked]

    async def _reserve_in(self, owner: str | None, caps: Sequence[Cap], ids: list[str]) -> dict[str, _Full]:
        """Let through as many as there is room for, the first ones; why the others are not."""
        for cap in caps:
            if cap.measure == "stored_log_bytes" and (used := await self._log_bytes(owner)) >= cap.most:
                return dict.fromkeys(ids, _Full(cap, used))
        caps = [cap for cap in caps if cap.measure in _TASKS]
        if not caps:
            return {}
        key = _key(owner)
        if known := self._recall(key, "full"):
            return dict.fromkeys(ids, known)
        is_counted = all((key, cap.measure) in self._counted for cap in caps)
        if is_counted and await self._let(key, caps, ids):
            return {}
        full = _Full(caps[0], caps[0].most)
        for _ in range(_LOOKS):
            began_at = time.monotonic()
            found = await self._recount(owner, caps)
            if found is None:  # another process has let some through meanwhile
                continue
            fullest = min(caps, key=lambda cap: cap.most - found[cap.measure])
            room, used = max(0, fullest.most - found[fullest.measure]), found[fullest.measure]
            full = _Full(fullest, used)
            if room and await self._let(key, caps, ids[:room]):
                return dict.fromkeys(ids[room:], _Full(fullest, used + room))
            if not room and not found["coming"]:
                self._remember(key, "full", full, time.monotonic() - began_at, least_s=0)
                break
            await asyncio.sleep(_PAUSE_S)
        return dict.fromkeys(ids, full)

    async def _let(self, key: str, caps: Sequence[Cap], ids: list[str]) -> bool:
        """Count these among those that are coming, if there is room for all."""
        room: Document = {cap.measure: {"$lte": cap.most - len(ids)} for cap in caps}
        now = self._clock.now()
        coming = [{"id": {"$literal": task_id}, "at": now} for task_id in ids]
        more = {measure: {"$add": [f"${measure}", len(ids)]} for measure in _TASKS}
        change = {
            **more,
            "version": {"$add": ["$version", 1]},
            "coming": {"$concatArrays": ["$coming", coming]},
        }
        return (await self._rooms.update_one({"_id": key, **room}, [{"$set": change}])).matched_count == 1

    async def _recount(self, owner: str | None, caps: Sequence[Cap]) -> dict[str, int] | None:
        """Count anew, and write it down; None if tasks were let through meanwhile."""
        key = _key(owner)
        still = {"$gt": ["$$this.at", self._clock.after(-_COMING_S)]}
        known = await self._rooms.find_one(
            {"_id": key},
            {"version": 1, "coming": {"$filter": {"input": "$coming", "cond": still}}},
        )
        coming = known["coming"] if known else []
        most: dict[str, int] = {cap.measure: cap.most for cap in caps}
        counts = {
            measure: await self._count_now(owner, measure, most[measure] + 1) + len(coming)
            for measure in most
        }
        if not await self._write_down(key, known, {**counts, "coming": coming}):
            return None
        self._counted |= {(key, measure) for measure in counts}
        return {**counts, "coming": len(coming)}

    async def _write_down(self, key: str, known: Document | None, counted: Document) -> bool:
        try:
            if known is None:
                nothing = dict.fromkeys(_TASKS, 0)
                await self._rooms.insert_one({"_id": key, **nothing, **counted, "version": 1})
                return True
        except DuplicateKeyError:
            return False
        # Those whose coming has ended meanwhile must not come again.
        ids = [one["id"] for one in counted.pop("coming")]
        mine = {"$filter": {"input": "$coming", "cond": {"$in": ["$$this.id", {"$literal": ids}]}}}
        change = {**counted, "coming": mine, "version": {"$add": ["$version", 1]}}
        where = {"_id": key, "version": known["version"]}
        return (await self._rooms.update_one(where, [{"$set": change}])).matched_count == 1

    async def _settle(self, settled: list[tuple[str, str]]) -> Sequence[None]:
        keys = [_key(None), *dict.fromkeys(_key(owner) for _, owner in settled)]
        ids = [task_id for task_id, _ in settled]
        await self._rooms.update_many({"_id": {"$in": keys}}, {"$pull": {"coming": {"id": {"$in": ids}}}})
        return [None] * len(settled)

    # -- counting

    async def _count(self, owner: str | None, measure: str) -> int:
        if (known := self._recall(_key(owner), measure)) is not None:
            return int(known)
        began_at = time.monotonic()
        found = await self._count_now(owner, measure, None)
        self._remember(_key(owner), measure, found, time.monotonic() - began_at)
        return found

    async def _count_now(self, owner: str | None, measure: str, most: int | None) -> int:
        """From an index alone; how many there are of all, MongoDB itself keeps."""
        if owner is None and measure == "stored_tasks":
            return await self._tasks.estimated_document_count()
        states = {"state": {"$in": _LIVE if measure == "live_tasks" else _EVERY}}
        where = states if owner is None else {"owner": owner, **states}
        index = Index.BY_STATE if owner is None else Index.BY_OWNER
        limit: Any = {} if most is None else {"limit": most}
        with pymongo.timeout(_COUNT_TIMEOUT_S):
            return await self._tasks.count_documents(where, hint=index, **limit)

    async def _log_bytes(self, owner: str | None) -> int:
        if (known := self._recall(_key(owner), "log_bytes")) is not None:
            return int(known)
        began_at = time.monotonic()
        where: Document = {"log_bytes": {"$gt": 0}}
        if owner is not None:
            where["owner"] = owner
        total: Document = {"_id": None, "bytes": {"$sum": "$log_bytes"}}
        with pymongo.timeout(_COUNT_TIMEOUT_S):
            cursor = await self._tasks.aggregate([{"$match": where}, {"$group": total}], hint=Index.LOGS)
            found = sum([int(one["bytes"]) async for one in cursor])
        self._remember(_key(owner), "log_bytes", found, time.monotonic() - began_at)
        return found

    def _recall(self, key: str, what: str) -> Any:
        until, value = self._remembered.get((key, what), (0.0, None))
        return value if time.monotonic() < until else None

    def _remember(self, key: str, what: str, value: Any, took_s: float, least_s: float | None = None) -> None:
        now = time.monotonic()
        if len(self._remembered) > 10_000:
            self._remembered = {at: fresh for at, fresh in self._remembered.items() if fresh[0] > now}
        self._remembered[key, what] = (
            now + max(_FRESH_S if least_s is None else least_s, _COSTS * took_s),
            value,
        )


def _key(owner: str | None) -> str:
    return "*" if owner is None else f"={owner}"


async def log_bytes_of(chunks: Collection, task_id: str) -> int:
    """What is kept of a task's logs."""
    total: Document = {"_id": None, "bytes": {"$sum": "$size"}}
    cursor = await chunks.aggregate([{"$match": of_task(task_id)}, {"$group": total}])
    return sum([int(one["bytes"]) async for one in cursor])
