"""Workflow runs in MongoDB, beside the tasks (`RunStore`); `mongo_run_documents` says how they look.

Every change of a run is one compare-and-set of its document. Steps are unique by an index: of callers at the
same time one puts a step, and all get that one.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from bson.int64 import Int64
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tesp_api.errors import ClaimLost, RunInUse, RunNotFound, RunNotOver, TransitionRefused
from tesp_api.store.base import Claim, LogPart, OnceKey, Page
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_documents import Database, Document, exact, printable, to_json, to_micros
from tesp_api.store.mongo_notices import announcing, move_on
from tesp_api.store.mongo_run_creation import HELD_BACK_MICROS, MongoRunCreation
from tesp_api.store.mongo_run_documents import (
    AT_A_GLANCE,
    FINAL_STATES,
    LISTED,
    new_step_document,
    to_run,
    to_run_glance,
    to_run_to_do,
    to_step,
)
from tesp_api.store.outbox import Watch
from tesp_api.store.page_token import task_id_in, token_after
from tesp_api.store.run_states import RUN_FINAL, run_sources
from tesp_api.store.runs import Run, RunEnd, RunGlance, RunLogName, RunQuery, RunToDo, StepRecord
from tesp_api.store.turns import dealt_out
from tesp_api.tes.states import State

_TO_CANCELING = [state.value for state in run_sources(State.CANCELING)]
_NEWEST_FIRST = [("_id", -1)]


class MongoRunStore:
    """The `RunStore` in the database of `tasks`, which opens and closes it."""

    def __init__(self, tasks: MongoTaskStore) -> None:
        self._tasks = tasks
        self._creation = MongoRunCreation(tasks)

    # -- the API's side

    async def create(
        self,
        run: Run,
        *,
        once: OnceKey | None = None,
        live_max: int | None = None,
        watch: Watch | None = None,
    ) -> str:
        stored = await self._creation.create(run, once, live_max, watch)
        self._tasks.notices.ring(stored)
        return stored

    async def find_once(self, owner: str, once: OnceKey) -> str | None:
        return await self._creation.find_once(owner, once)

    async def get(self, run_id: str) -> Run:
        return to_run(await self._find(run_id))

    async def glance(self, run_id: str) -> RunGlance:
        return to_run_glance(await self._find(run_id, AT_A_GLANCE))

    async def list_runs(self, query: RunQuery) -> Page[Run]:
        where: Document = {"doomed": False}
        if query.after is not None:
            where["_id"] = {"$lt": task_id_in(query.after)}
        if query.owner is not None:
            where["owner"] = query.owner
        if query.group is not None:
            where["groups"] = exact(query.group)
        async with self._tasks.use() as opened:
            cursor = opened.db.runs.find(where, LISTED).sort(_NEWEST_FIRST)
            found = await cursor.limit(query.page_size + 1).to_list()
        runs = [to_run(document) for document in found[: query.page_size]]
        return Page(runs, token_after(runs[-1].id) if len(found) > query.page_size else None)

    async def count_states(self) -> Mapping[State, int]:
        steps: list[Document] = [{"$match": {"doomed": False}}, {"$sortByCount": "$state"}]
        async with self._tasks.use() as opened:
            counted = await (await opened.db.runs.aggregate(steps)).to_list()
        return {State(one["_id"]): int(one["count"]) for one in counted}

    async def count_live(self, owner: str) -> int:
        async with self._tasks.use() as opened:
            return await self._creation.count_live(opened.db, owner)

    async def request_cancel(self, run_id: str, reason: str) -> State:
        change = self._change(State.CANCELING, reason, RunEnd())
        where = {"_id": run_id, "doomed": False, "state": {"$in": _TO_CANCELING}}
        async with self._tasks.use() as opened:
            if (await opened.db.runs.update_one(where, change)).matched_count:
                self._ring(run_id)
                return State.CANCELING
        return (await self.glance(run_id)).state

    async def doom(self, run_id: str) -> None:
        state = (await self.glance(run_id)).state
        if state not in RUN_FINAL:
            raise RunNotOver(run_id, state)
        async with self._tasks.use() as opened:
            if not await self._doom(opened.db, run_id):
                raise RunNotFound(run_id)

    async def doom_old(self, ended_before: datetime, *, limit: int) -> int:
        old = {"doomed": False, "ended_at": {"$gt": 0, "$lt": to_micros(ended_before)}}
        doomed = 0
        async with self._tasks.use() as opened:
            async for found in opened.db.runs.find(old, {"_id": 1}).sort("ended_at", 1):
                if doomed >= limit:
                    break
                with contextlib.suppress(RunInUse):
                    doomed += await self._doom(opened.db, found["_id"])
        return doomed

    async def read_log(self, run_id: str, name: RunLogName, *, offset: int, limit: int) -> LogPart:
        of_log: Document = {"run_id": run_id, "name": name}
        async with self._tasks.use() as opened:
            logs = opened.db.run_logs
            before = await logs.find_one(
                of_log | {"offset": {"$lte": offset}}, {"offset": 1}, sort=[("offset", -1)]
            )
            first = before["offset"] if before else 0
            within = of_log | {"offset": {"$gte": first, "$lt": offset + limit}}
            chunks = await logs.find(within).sort("offset", 1).to_list()
        data = b"".join(chunk["data"][max(0, offset - chunk["offset"]) :] for chunk in chunks)
        return LogPart(offset, data[:limit])

    async def log_size(self, run_id: str, name: RunLogName) -> int:
        async with self._tasks.use() as opened:
            return await _log_size(opened.db, run_id, name)

    # -- steps

    async def list_steps(self, run_id: str, *, after: str = "", limit: int) -> list[StepRecord]:
        where = {"run_id": run_id, "_id": {"$gt": after}}
        async with self._tasks.use() as opened:
            found = await opened.db.run_steps.find(where).sort("_id", 1).limit(limit).to_list()
        return [to_step(document) for document in found]

    async def find_step(self, run_id: str, task_id: str) -> StepRecord | None:
        return await self._find_step({"run_id": run_id, "task_id": task_id})

    async def find_step_by_key(self, run_id: str, key: str) -> StepRecord | None:
        return await self._find_step({"run_id": run_id, "key": key})

    async def put_step(self, step: StepRecord, *, claim: Claim) -> StepRecord:
        async with self._tasks.use() as opened:
            await _check_claim(opened.db, claim)
            try:
                await opened.db.run_steps.insert_one(new_step_document(step))
            except DuplicateKeyError:
                kept = await opened.db.run_steps.find_one({"run_id": step.run_id, "key": step.key})
                return step if kept is None else to_step(kept)
        self._tasks.news.ring(step.run_id)
        return step

    async def replace_step(self, step: StepRecord, *, claim: Claim) -> None:
        async with self._tasks.use() as opened:
            await _check_claim(opened.db, claim)
            await opened.db.run_steps.delete_one({"run_id": step.run_id, "key": step.key})
        await self.put_step(step, claim=claim)

    # -- the conductor's side

    async def list_to_do(self, *, limit: int) -> list[RunToDo]:
        parts = dict.fromkeys(("state", "engine", "work_url", "doomed"), 1)
        free = self._tasks.clock.reached("free_at")["$expr"]
        async with self._tasks.use() as opened:
            found = opened.db.runs.find({"to_do": True}, parts | {"is_free": free}).sort("_id", 1)
            return [to_run_to_do(document) for document in await found.limit(limit).to_list()]

    async def tell_unclaimed(self, run_id: str, line: str) -> bool:
        said = printable(line)
        free = {"_id": run_id, "to_do": True, "system_logs": {"$ne": said}}
        free |= self._tasks.clock.reached("free_at")
        async with self._tasks.use() as opened:
            told = await opened.db.runs.update_one(free, {"$push": {"system_logs": said}})
        return bool(told.matched_count)

    async def claim(
        self,
        owner: str,
        *,
        lease_s: float,
        new_limit: int,
        without: Collection[str] = (),
        base_url: str | None = None,
        reserved: int = 0,
    ) -> list[Run]:
        clock = self._tasks.clock
        free: Document = {"to_do": True, **clock.reached("free_at"), **_drivable(without, base_url)}
        change = [
            {
                "$set": {
                    "claim_owner": {"$literal": owner},
                    "epoch": {"$add": ["$epoch", 1]},
                    "free_at": clock.after(lease_s),
                }
            }
        ]
        taken: list[Run] = []
        async with self._tasks.use() as opened:
            fields = {"owner": 1, "state": 1, "doomed": 1}
            candidates = await opened.db.runs.find(free, fields).sort("_id", 1).to_list()
            left = await _left_waiting(opened.db, candidates, new_limit, reserved)
            for found in candidates:
                if found["_id"] in left:
                    continue
                run = await opened.db.runs.find_one_and_update(
                    {"_id": found["_id"], **free}, change, return_document=ReturnDocument.AFTER
                )
                if run is not None:  # else another one was faster
                    taken.append(to_run(run))
        return taken

    async def renew(self, owner: str, run_ids: Collection[str], *, lease_s: float) -> None:
        mine = {"_id": {"$in": list(run_ids)}, "claim_owner": owner}
        async with self._tasks.use() as opened:
            await opened.db.runs.update_many(mine, [{"$set": {"free_at": self._tasks.clock.after(lease_s)}}])

    async def held(self, owner: str) -> Mapping[str, State]:
        async with self._tasks.use() as opened:
            found = await opened.db.runs.find({"claim_owner": owner}, {"state": 1}).to_list()
        return {one["_id"]: State(one["state"]) for one in found}

    async def release(self, owner: str) -> None:
        change = {"$unset": {"claim_owner": 1}, "$set": {"free_at": Int64(0)}}
        async with self._tasks.use() as opened:
            await opened.db.runs.update_many({"claim_owner": owner}, change)

    async def transition(
        self, run_id: str, to: State, *, claim: Claim, log: str = "", end: RunEnd | None = None
    ) -> Run:
        sources = [state.value for state in run_sources(to)]
        where = _held(claim) | {"_id": run_id, "state": {"$in": sources}}
        change = self._change(to, log, end or RunEnd())
        async with self._tasks.use() as opened:
            while True:
                moved = await opened.db.runs.find_one_and_update(
                    where, change, return_document=ReturnDocument.AFTER
                )
                if moved is not None:
                    self._ring(run_id)
                    return to_run(moved)
                found = await opened.db.runs.find_one(_held(claim), {"state": 1})
                if found is None:
                    raise ClaimLost(run_id)
                if found["state"] not in sources:
                    raise TransitionRefused(run_id, State(found["state"]), to, what="run")

    async def tell(self, line: str, *, claim: Claim) -> None:
        async with self._tasks.use() as opened:
            told = await opened.db.runs.update_one(_held(claim), {"$push": {"system_logs": printable(line)}})
        if not told.matched_count:
            raise ClaimLost(claim.task_id)

    async def append_log(self, name: RunLogName, data: bytes, *, claim: Claim) -> None:
        async with self._tasks.use() as opened:
            await _check_claim(opened.db, claim)
            offset = await _log_size(opened.db, claim.task_id, name)
            chunk = {"run_id": claim.task_id, "name": name, "offset": Int64(offset), "data": data}
            try:
                await opened.db.run_logs.insert_one(chunk)
            except DuplicateKeyError:  # only another conductor writes at the same time
                raise ClaimLost(claim.task_id) from None
        self._tasks.news.ring(claim.task_id)

    async def remove(self, *, claim: Claim) -> None:
        async with self._tasks.use() as opened:
            await _check_claim(opened.db, claim)
            await opened.db.run_steps.delete_many({"run_id": claim.task_id})
            await opened.db.run_logs.delete_many({"run_id": claim.task_id})
            await move_on(opened.db, [claim.task_id])
            await opened.db.runs.delete_one(_held(claim) | {"doomed": True})

    # --

    def _ring(self, run_id: str) -> None:
        """The run is in another state."""
        self._tasks.news.ring(run_id)
        self._tasks.notices.ring(run_id)

    async def _doom(self, db: Database, run_id: str) -> bool:
        """Delete an ended run; whether it was there.

        It is marked first, and removed by nobody until it is known that none has come to use it meanwhile.

        Raises:
            RunInUse: another one uses it.
        """
        if user := await _user_of(db, run_id):
            raise RunInUse(run_id, user)
        ended = {"_id": run_id, "doomed": False, "state": {"$in": FINAL_STATES}}
        kept_s = HELD_BACK_MICROS / 1_000_000
        doomed: Document = {"doomed": True, "to_do": True, "free_at": self._tasks.clock.after(kept_s)}
        if not (await db.runs.update_one(ended, [{"$set": doomed}])).modified_count:
            return False
        user = await _user_of(db, run_id)
        change: Document = {"free_at": Int64(0)} | ({"doomed": False, "to_do": False} if user else {})
        unclaimed = {"_id": run_id, "claim_owner": {"$exists": False}}
        await db.runs.update_one(unclaimed, {"$set": change})
        if user:
            raise RunInUse(run_id, user)
        return True

    async def _find(self, run_id: str, projection: Document | None = None) -> Document:
        async with self._tasks.use() as opened:
            found = await opened.db.runs.find_one({"_id": run_id, "doomed": False}, projection)
        if found is None:
            raise RunNotFound(run_id)
        return found

    async def _find_step(self, where: Document) -> StepRecord | None:
        async with self._tasks.use() as opened:
            found = await opened.db.run_steps.find_one(where, sort=_NEWEST_FIRST)
        return None if found is None else to_step(found)

    def _change(self, to: State, log: str, end: RunEnd) -> list[Document]:
        now = self._tasks.clock.now()
        change: Document = {"state": to.value} | announcing(to, now, 0)
        if to is State.INITIALIZING:
            change["started_at"] = now
        if to in RUN_FINAL:
            change |= {"ended_at": now, "to_do": False, "free_at": Int64(0)}
            change |= {"exit_code": end.exit_code, "outputs": {"$literal": to_json(end.outputs)}}
        if log:
            change["system_logs"] = {"$concatArrays": ["$system_logs", [{"$literal": printable(log)}]]}
        steps: list[Document] = [{"$set": change}]
        return [*steps, {"$unset": "claim_owner"}] if to in RUN_FINAL else steps


def _drivable(without: Collection[str], base_url: str | None) -> Document:
    """The condition that a run can do without these engines, and without files elsewhere than `base_url`."""
    canceling = {"state": State.CANCELING.value}
    conditions: list[Document] = []
    if without:
        conditions.append({"$or": [{"engine": {"$nin": list(without)}}, {"doomed": True}, canceling]})
    if base_url is not None:
        here = {"$eq": ["$work_url", {"$concat": [{"$literal": base_url}, "$_id", "/"]}]}
        conditions.append({"$or": [{"$expr": here}, canceling]})
    return {"$and": conditions} if conditions else {}


def _held(claim: Claim) -> Document:
    """The filter that finds the claim's run only as long as the claim is its present one."""
    return {"_id": claim.task_id, "claim_owner": claim.owner, "epoch": claim.epoch}


async def _check_claim(db: Database, claim: Claim) -> None:
    if await db.runs.find_one(_held(claim), {"_id": 1}) is None:
        raise ClaimLost(claim.task_id)


async def _left_waiting(db: Database, free: Sequence[Document], new_limit: int, reserved: int) -> set[str]:
    """The new ones among these runs, oldest first, that are not among the `new_limit` whose turn it is."""
    waiting = [
        (one["_id"], one["owner"]) for one in free if one["state"] == State.QUEUED and not one["doomed"]
    ]
    if not waiting:
        return set()
    begun: list[Document] = [{"state": {"$ne": State.QUEUED.value}}, {"claim_owner": {"$exists": True}}]
    had = await db.runs.find({"to_do": True, "doomed": False, "$or": begun}, {"owner": 1}).to_list()
    taken = Counter(one["owner"] for one in had)
    return {run_id for run_id, _ in waiting} - dealt_out(waiting, taken, new_limit, reserved=reserved)


async def _user_of(db: Database, run_id: str) -> str | None:
    """A run that needs the files of this one."""
    found = await db.runs.find_one({"uses": run_id, "doomed": False}, {"_id": 1})
    return None if found is None else str(found["_id"])


async def _log_size(db: Database, run_id: str, name: RunLogName) -> int:
    last = await db.run_logs.find_one({"run_id": run_id, "name": name}, sort=[("offset", -1)])
    return 0 if last is None else int(last["offset"]) + len(last["data"])
