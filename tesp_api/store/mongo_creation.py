"""Creation in MongoDB: one insert, shared by those who create at the same time, and what to do when its
answer does not arrive.

Then the task may be stored, or not, or be stored later: the command may lie in the socket of a server that
hangs. So the question is put as a change that settles it. Under the task's id either the task is
found, which is then created; or a *marker* is put there, which bars the way of an insert that comes late.
After that the task is absent for good, and the client may be told so. Markers have no state and no tags,
so no list shows them, and the database removes them after an hour.

If the database does not answer that question in time either, the client is told to try again, and the
task is *doubtful*: as soon as the database is back, and before this process claims anything, a marker takes
its place. A task with an idempotency key is left, since the client's next try will find it. What remains: if
this process dies before that, or another replica has claimed the task by then, it stays.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from weakref import WeakValueDictionary

import pymongo
from pymongo import ReturnDocument
from pymongo.errors import (
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
    WriteError,
)

from tesp_api.errors import Fault, InvalidRequest, KeyReused, LimitReached, StoreUnavailable
from tesp_api.store.base import OnceKey, Task
from tesp_api.store.gathering import Gathering
from tesp_api.store.mongo_documents import Collection, Document, new_document, once_hash
from tesp_api.store.mongo_errors import FOREIGN, meaning
from tesp_api.store.mongo_notices import first_watch
from tesp_api.store.mongo_usage import MongoUsage
from tesp_api.store.outbox import Watch
from tesp_api.store.usage import Cap
from tesp_api.tes.states import State

SETTLE_TIMEOUT_S = 4.0
_RETRY_S = 0.1
_INSERTS_AT_ONCE = 1
"""Groups on their way at one time; while one is, the next one gathers."""
_PATIENCE_S = 0.25
_DUPLICATE_KEY = 11000
_NEVER_SENT = (ServerSelectionTimeoutError, WaitQueueTimeoutError)

_log = logging.getLogger(__name__)

_IS_TASK = {"$ne": [{"$type": "$state"}, "missing"]}
_IS_UNTOUCHED = {
    "$and": [
        {"$eq": ["$state", State.QUEUED.value]},
        {"$eq": ["$epoch", 0]},
        {"$eq": [{"$type": "$once"}, "missing"]},
    ]
}
_MARKER = {"_id": "$_id", "void_at": "$$NOW"}


class MongoCreation:
    """Creates tasks, and remembers those of which it does not know whether they were created."""

    def __init__(self, tasks: Collection, usage: MongoUsage) -> None:
        self._tasks = tasks
        self._usage = usage
        self._settled: set[asyncio.Task[None]] = set()
        self._same: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._inserts = Gathering(self._insert, at_once=_INSERTS_AT_ONCE, patience_s=_PATIENCE_S)
        self._doubtful: set[str] = set()
        self._settling = asyncio.Lock()

    async def create(
        self, task: Task, once: OnceKey | None, caps: Sequence[Cap] = (), watch: Watch | None = None
    ) -> str:
        """See `TaskStore.create`.

        Raises:
            InvalidRequest: the task is larger than a document can be.
            StoreUnavailable: the task was not stored, or it is doubtful.
        """
        if not caps:
            return await self._create(task, once, watch)
        if once is None:
            return await self._create_within(caps, task, once, watch)
        # Repeats that come at the same time must not be refused for the room that the first one takes.
        turn = self._same.setdefault(once_hash(task.owner, once.key), asyncio.Lock())
        async with turn:
            return await self._find_known(task, once) or await self._create_within(caps, task, once, watch)

    async def _create_within(
        self, caps: Sequence[Cap], task: Task, once: OnceKey | None, watch: Watch | None
    ) -> str:
        try:
            await self._usage.reserve(task.id, task.owner, caps)
        except LimitReached:
            if known := await self._find_known(task, once):
                return known
            raise
        try:
            return await self._create(task, once, watch)
        finally:
            settled = asyncio.create_task(
                self._settle(task)
            )  # nobody waits: until then it counts twice at most
            self._settled.add(settled)
            settled.add_done_callback(self._settled.discard)

    async def _settle(self, task: Task) -> None:
        """What cannot be said now is forgotten by itself after a while."""
        with contextlib.suppress(*FOREIGN, asyncio.CancelledError):
            await self._usage.settle(task.id, task.owner)

    async def _create(self, task: Task, once: OnceKey | None, watch: Watch | None) -> str:
        if task.id in self._doubtful:
            await self.settle()
        document = new_document(task, once)
        if watch is not None:
            document |= first_watch(watch, State.QUEUED, document["created_at"])
        while True:
            try:
                fault = await self._inserts.add(document)
                if fault is None:
                    return task.id
                raise fault
            except DuplicateKeyError:
                known = await self._known_as(task, once)
                if known is not None:
                    return known
            except DocumentTooLarge:
                raise _too_large() from None
            except PyMongoError as error:
                if isinstance(error, _NEVER_SENT) or meaning(error) is not StoreUnavailable:
                    raise
                if await self._has_arrived(task.id, once):
                    return task.id
                raise StoreUnavailable(f"MongoDB: the task was not stored: {error}") from error

    async def _insert(self, documents: list[Document]) -> Sequence[Exception | None]:
        """For each document None if it went in, else why not; raises what concerns them all."""
        if len(documents) == 1:
            return [await self._insert_alone(documents[0])]
        try:
            await self._tasks.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return _outcomes(error, len(documents))
        except FOREIGN as error:
            if meaning(error) is StoreUnavailable:
                raise
            # One cannot be sent, and hides which others went in: those are found by their ids.
            return [await self._insert_alone(document) for document in documents]
        return [None] * len(documents)

    async def _insert_alone(self, document: Document) -> Exception | None:
        try:
            await self._tasks.insert_one(document)
        except FOREIGN as error:
            return error
        return None

    async def settle(self) -> None:
        """Let no doubtful task stay that nobody has claimed; does nothing if there is none."""
        if not self._doubtful:
            return
        async with self._settling:
            for task_id in list(self._doubtful):
                if await self._bar(task_id, keep_untouched=False):
                    _log.warning("task %s was stored although its creation was answered with 503", task_id)
                self._doubtful.discard(task_id)

    async def _known_as(self, task: Task, once: OnceKey | None) -> str | None:
        """The id under which the task is stored already; None if what stood in its way is gone."""
        if known := await self._find_known(task, once):
            return known
        gone = await self._tasks.delete_one({"_id": task.id, "void_at": {"$exists": True}})
        if not gone.deleted_count:
            await asyncio.sleep(_RETRY_S / 10)  # not visible to the majority yet, or just deleted
        return None

    async def _find_known(self, task: Task, once: OnceKey | None) -> str | None:
        same = await self._tasks.find_one({"_id": task.id}, {"state": 1})
        if same is not None and "state" in same:
            return task.id
        if same is None and once is not None:
            first = await self._tasks.find_one({"once.key": once_hash(task.owner, once.key)}, {"once": 1})
            if first is not None:
                if first["once"]["digest"] != once.body_digest:
                    raise KeyReused(once.key)
                return str(first["_id"])
        return None

    async def _has_arrived(self, task_id: str, once: OnceKey | None) -> bool:
        """Whether the task is stored; if not, it never will be.

        Raises:
            PyMongoError: neither can be said in time.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        try:
            while True:
                try:
                    with pymongo.timeout(max(_RETRY_S, deadline - time.monotonic())):
                        return await self._bar(task_id, keep_untouched=True)
                except PyMongoError:
                    if time.monotonic() + _RETRY_S > deadline:
                        raise
                await asyncio.sleep(_RETRY_S)
        except (PyMongoError, asyncio.CancelledError):
            if once is None:
                self._doubtful.add(task_id)
            raise

    async def _bar(self, task_id: str, *, keep_untouched: bool) -> bool:
        """Put a marker where there is no task, or none that anybody has touched; return if there was one."""
        keep = _IS_TASK if keep_untouched else {"$and": [_IS_TASK, {"$not": [_IS_UNTOUCHED]}]}
        change: list[Document] = [{"$replaceWith": {"$cond": [keep, "$$ROOT", _MARKER]}}]
        moment = ReturnDocument.AFTER if keep_untouched else ReturnDocument.BEFORE
        found = await self._tasks.find_one_and_update(
            {"_id": task_id}, change, {"state": 1}, upsert=True, return_document=moment
        )
        return found is not None and "state" in found


def _outcomes(error: BulkWriteError, total: int) -> list[Exception | None]:
    """For each of `total` documents what insertion alone would have raised, or None."""
    outcomes: list[Exception | None] = [None] * total
    for fault in error.details["writeConcernErrors"]:  # of all that went in
        outcomes = [WriteConcernError(fault["errmsg"], fault["code"], fault)] * total
    for fault in error.details["writeErrors"]:
        kind = DuplicateKeyError if fault["code"] == _DUPLICATE_KEY else WriteError
        outcomes[fault["index"]] = kind(fault["errmsg"], fault["code"], fault)
    return outcomes


def _too_large() -> InvalidRequest:
    return InvalidRequest(
        [Fault("body", "is larger than can be stored: pass large data by URL, not as content")]
    )
