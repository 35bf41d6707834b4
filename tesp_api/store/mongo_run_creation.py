"""How a run comes into MongoDB: within its owner's limit, with all that it uses there, and once for each key.

It is stored before it is counted, so that of servers at one time none lets too many through, and before what
it uses is looked for, so that this is not deleted any more. Meanwhile it is *held back*, nobody's to claim;
then it is let go, or removed again. If its process dies in between, it is one that was created.
"""

import asyncio
from collections.abc import Sequence
from weakref import WeakValueDictionary

from bson.int64 import Int64
from pymongo.errors import DocumentTooLarge, DuplicateKeyError

from tesp_api.errors import Fault, InvalidRequest, KeyReused, NothingStored, RunNotFound, TespError
from tesp_api.store.base import OnceKey
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_documents import Database, Document, once_hash, to_micros
from tesp_api.store.mongo_notices import first_watch
from tesp_api.store.mongo_run_documents import FINAL_STATES, new_run_document
from tesp_api.store.outbox import Watch
from tesp_api.store.runs import Run, too_many_live
from tesp_api.tes.states import State
from tesp_api.tes.times import now

HELD_BACK_MICROS = 60 * 1_000_000
_RETRY_S = 0.01


class MongoRunCreation:
    """Creates runs in the database of `tasks`."""

    def __init__(self, tasks: MongoTaskStore) -> None:
        self._tasks = tasks
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self, run: Run, once: OnceKey | None, live_max: int | None, watch: Watch | None = None
    ) -> str:
        """See `RunStore.create`."""
        document = new_run_document(run, once)
        if watch is not None:
            document |= first_watch(watch, State.QUEUED, document["created_at"])
        if live_max is not None or run.uses:
            document["free_at"] = Int64(to_micros(now()) + HELD_BACK_MICROS)
        turn = self._turns.setdefault(run.owner, asyncio.Lock())
        async with turn, self._tasks.use() as opened:
            stored = await self._insert(opened.db, document, once)
            if _is_held_back(stored) and (fault := await self._settle(opened.db, stored, live_max)):
                raise fault
        return str(stored["_id"])

    async def find_once(self, owner: str, once: OnceKey) -> str | None:
        """See `RunStore.find_once`; one that is held back may still be removed."""
        async with self._tasks.use() as opened:
            found = await _under(opened.db, owner, once)
        return None if found is None or _is_held_back(found) else str(found["_id"])

    async def count_live(self, db: Database, owner: str) -> int:
        """See `RunStore.count_live`."""
        live = {"doomed": False, "owner": owner, "state": {"$nin": FINAL_STATES}}
        return await db.runs.count_documents(live)

    async def _insert(self, db: Database, document: Document, once: OnceKey | None) -> Document:
        """The document that is stored now: this one, or that which was there, by its id or under the key."""
        while True:
            try:
                await db.runs.insert_one(document)
                return document
            except DocumentTooLarge:
                fault = Fault("workflow_params", "are larger than can be stored: pass large data as files")
                raise InvalidRequest([fault]) from None
            except DuplicateKeyError:
                if await db.runs.find_one({"_id": document["_id"]}, {"_id": 1}):
                    return {"_id": document["_id"]}
            if once is not None:
                if known := await _under(db, document["owner"], once):
                    return known
                deleted = {"once.key": once_hash(document["owner"], once.key), "doomed": True}
                await db.runs.update_one(deleted, {"$unset": {"once": 1}})
            await asyncio.sleep(_RETRY_S)  # not visible to the majority yet, or just removed

    async def _settle(self, db: Database, stored: Document, live_max: int | None) -> TespError | None:
        """Let a run go that is held back, or remove it and say why. Several requests may do so at once."""
        held_back = {"_id": stored["_id"], "epoch": 0, "free_at": {"$gt": 0}}
        fault = await self._fault_of(db, stored["owner"], stored["uses"], live_max)
        if fault is None:
            await db.runs.update_one(held_back, {"$set": {"free_at": Int64(0)}})
        elif (await db.runs.delete_one(held_back)).deleted_count:
            return fault
        if await db.runs.find_one({"_id": stored["_id"]}, {"_id": 1}):
            return None
        return fault or NothingStored("the same request was refused a moment ago: send it again")

    async def _fault_of(
        self, db: Database, owner: str, uses: Sequence[str], live_max: int | None
    ) -> TespError | None:
        """Why a run that has been stored may not stay."""
        if live_max is not None and (live := await self.count_live(db, owner)) > live_max:
            return too_many_live(live_max, live - 1)
        there = await db.runs.find({"_id": {"$in": list(uses)}, "doomed": False}, {"_id": 1}).to_list()
        gone = set(uses) - {one["_id"] for one in there}
        return RunNotFound(min(gone)) if gone else None


def _is_held_back(document: Document) -> bool:
    return document.get("epoch") == 0 and document["free_at"] > 0


async def _under(db: Database, owner: str, once: OnceKey) -> Document | None:
    """The run that its owner created under the key, unless it has been deleted.

    Raises:
        KeyReused: it was created from another body.
    """
    parts = dict.fromkeys(("once", "owner", "uses", "epoch", "free_at"), 1)
    found = await db.runs.find_one({"once.key": once_hash(owner, once.key), "doomed": False}, parts)
    if found is not None and found["once"]["digest"] != once.body_digest:
        raise KeyReused(once.key, what="run")
    return found
