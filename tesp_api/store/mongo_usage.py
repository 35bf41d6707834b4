"""What users have in MongoDB, and the room that there is left for them.

Nothing is counted as tasks come and go: a change of a task is one change of one document, and a count beside
it would be wrong after the next kill. Counts are read off the indexes when they are needed. So that this is
seldom, and that several servers together let no more through than there is room for, there is a document for
each owner with limits, and one for all:

    _id                       the owner, after "="; "*" for all
    live_tasks, stored_tasks  never less than there are: what was counted last, and what was let through since
    coming                    [{id, at}] of those that were let through and may not be stored yet
    version                   how many counts were written down

To let tasks through is one conditional change. Where that finds no room, the count is read anew, and those
that were coming before and those that were let through meanwhile are added. It is written down unless another
count was, meanwhile. What a process that died has let through comes no more after a minute. A process trusts
no count that was written before its own first.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pymongo
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tesp_api.errors import StoreUnavailable
from tesp_api.store.gathering import Gathering
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_counting import LIVE, used_for_s
from tesp_api.store.mongo_documents import Collection, Database, Document
from tesp_api.store.mongo_logs import of_task
from tesp_api.store.mongo_schema import Index
from tesp_api.store.usage import Cap, Usage
from tesp_api.tes.states import State

_COMING_S = 60.0
_PATIENCE_S = 0.25
_LOOKS = 5
_PAUSE_S = 0.02
_FRESH_S = 2.0
_COUNT_TIMEOUT_S = 30.0
_CHUNKS_TIMEOUT_S = 60.0
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


class _Unknown(NamedTuple):
    """Others were faster each time: there may be room or not."""


_Refusal = _Full | _Unknown


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
            StoreUnavailable: others changed the counts each time, so that none could be had.
        """
        refusal = await self._reserving.add(_Asked(task_id, owner, caps))
        if isinstance(refusal, _Unknown):
            raise StoreUnavailable("too many servers count the tasks of this owner, or of all: try again")
        if refusal is not None:
            raise refusal.cap.reached(refusal.used)

    async def settle(self, task_id: str, owner: str) -> None:
        """The task is stored, or never will be."""
        await self._settling.add((task_id, owner))

    async def usage(self, owner: str | None) -> Usage:
        """What an owner has, or all."""
        live, stored = [await self._count(owner, measure) for measure in _TASKS]
        return Usage(live, stored, await self._log_bytes(owner))

    # -- letting through

    async def _reserve(self, asked: list[_Asked]) -> Sequence[_Refusal | None]:
        refused: dict[str, _Refusal] = {}
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

    async def _reserve_in(
        self, owner: str | None, caps: Sequence[Cap], ids: list[str]
    ) -> dict[str, _Refusal]:
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
        refusal: _Refusal = _Unknown()
        for _ in range(_LOOKS):
            is_counted = all((key, cap.measure) in self._counted for cap in caps)
            if is_counted and await self._let(key, caps, ids):
                return {}
            began_at = time.monotonic()
            found = await self._recount(owner, caps)
            if found is None:  # another count was written down meanwhile
                continue
            fullest = min(caps, key=lambda cap: cap.most - found[cap.measure])
            room, used = max(0, fullest.most - found[fullest.measure]), found[fullest.measure]
            if room and await self._let(key, caps, ids[:room]):
                return dict.fromkeys(ids[room:], _Full(fullest, used + room))
            refusal = _Unknown() if room else _Full(fullest, used)
            if not room and not found["coming"]:
                self._remember(key, "full", refusal, time.monotonic() - began_at, least_s=0)
                break
            await asyncio.sleep(_PAUSE_S)
        return dict.fromkeys(ids, refusal)

    async def _let(self, key: str, caps: Sequence[Cap], ids: list[str]) -> bool:
        """Count these among those that are coming, if there is room for all."""
        room: Document = {cap.measure: {"$lte": cap.most - len(ids)} for cap in caps}
        now = self._clock.now()
        coming = [{"id": {"$literal": task_id}, "at": now} for task_id in ids]
        more = {measure: {"$add": [f"${measure}", len(ids)]} for measure in _TASKS}
        change = {
            **more,
            "coming": {"$concatArrays": ["$coming", coming]},
        }
        return (await self._rooms.update_one({"_id": key, **room}, [{"$set": change}])).matched_count == 1

    async def _recount(self, owner: str | None, caps: Sequence[Cap]) -> dict[str, int] | None:
        """Count anew, and write it down; None if another count was, meanwhile.

        `coming` tells how many may be counted twice: they were not known to be stored, or came meanwhile.
        """
        key = _key(owner)
        known = await self._rooms.find_one(
            {"_id": key}, {"version": 1, **dict.fromkeys(_TASKS, 1), "coming": self._still_coming()}
        )
        counts: dict[str, int] = {
            cap.measure: await self._count_now(owner, cap.measure, cap.most + 1) for cap in caps
        }
        written = await self._write_down(key, known, counts)
        if written is None:
            return None
        self._counted |= {(key, measure) for measure in counts}
        coming = max(int(written[measure]) - count for measure, count in counts.items())
        return {**{measure: int(written[measure]) for measure in counts}, "coming": coming}

    async def _write_down(self, key: str, known: Document | None, counts: dict[str, int]) -> Document | None:
        """What is then written there; what was let through since `known` was read, is added."""
        try:
            if known is None:
                first = {"_id": key, **dict.fromkeys(_TASKS, 0), **counts, "coming": [], "version": 1}
                await self._rooms.insert_one(first)
                return first
        except DuplicateKeyError:
            return None
        more = {measure: count + len(known["coming"]) - known[measure] for measure, count in counts.items()}
        change: Document = {measure: {"$add": [f"${measure}", by]} for measure, by in more.items()}
        change |= {"coming": self._still_coming(), "version": {"$add": ["$version", 1]}}
        where = {"_id": key, "version": known["version"]}
        return await self._rooms.find_one_and_update(
            where, [{"$set": change}], list(_TASKS), return_document=ReturnDocument.AFTER
        )

    def _still_coming(self) -> Document:
        still = {"$gt": ["$$this.at", self._clock.after(-_COMING_S)]}
        return {"$filter": {"input": "$coming", "cond": still}}

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
        states = {"state": {"$in": LIVE if measure == "live_tasks" else _EVERY}}
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
            now + used_for_s(took_s, _FRESH_S if least_s is None else least_s),
            value,
        )


def _key(owner: str | None) -> str:
    return "*" if owner is None else f"={owner}"


async def log_bytes_of(chunks: Collection, task_id: str) -> int:
    """What is kept of a task's logs."""
    total: Document = {"_id": None, "bytes": {"$sum": "$size"}}
    with pymongo.timeout(_CHUNKS_TIMEOUT_S):  # it reads all of them
        cursor = await chunks.aggregate([{"$match": of_task(task_id)}, {"$group": total}])
        return sum([int(one["bytes"]) async for one in cursor])
