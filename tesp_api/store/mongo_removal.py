"""The end of tasks in MongoDB: one by one, or all that ended long ago.

A task disappears with its document, which holds all but the executors' output. That goes next; so
that a process which dies in between leaves nothing behind, it first notes which tasks it removes, and whoever
opens the store or purges after that finishes what was left.
"""

import secrets
from datetime import datetime

import pymongo

from tesp_api.errors import TaskInUse, TaskNotFound, TaskNotOver
from tesp_api.store.mongo_documents import Database, to_micros
from tesp_api.store.mongo_logs import of_task
from tesp_api.store.mongo_notices import move_on
from tesp_api.store.mongo_schema import Index
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.tes.states import FINAL, State

_OVER = {"live": False, "state": {"$in": [state.value for state in FINAL]}}
_GOES_ON = {"to_do": True, "state": {"$nin": [State.QUEUED.value, *(state.value for state in RUN_FINAL)]}}
"""A run that may have steps, and has not ended."""
_GIVEN_UP_AFTER_MS = 300_000
_CHUNKS_TIMEOUT_S = 60.0
_TASKS_PER_DELETE = 50


async def delete_task(db: Database, task_id: str) -> None:
    """Remove a task that is over, with everything of it.

    Raises:
        TaskNotFound: there is none with this id.
        TaskNotOver: it has not ended, or is live.
        TaskInUse: it is a step of a run that has not ended.
    """
    found = await db.tasks.find_one({"_id": task_id}, {"state": 1, "live": 1})
    if found is None or "state" not in found:
        raise TaskNotFound(task_id)
    if found["live"] or found["state"] not in FINAL:
        raise TaskNotOver(task_id, State(found["state"]))
    if user := (await _users(db, await _going_on(db), [task_id])).get(task_id):
        raise TaskInUse(task_id, user)
    if not await _remove(db, [task_id]):
        raise TaskNotFound(task_id)


async def purge_tasks(db: Database, ended_before: datetime, limit: int) -> int:
    """Remove up to `limit` tasks that ended before that time, oldest ends first.

    Steps of runs that have not ended stay.
    """
    await finish_removals(db)
    runs = await _going_on(db)
    long_over = {"live": False, "ended_at": {"$lt": to_micros(ended_before)}}
    cursor = db.tasks.find(long_over, {"_id": 1}, hint=Index.ENDED).sort("ended_at", 1).batch_size(limit)
    removed = 0
    async with cursor:
        while removed < limit and (found := await cursor.to_list(limit - removed)):
            ids = [one["_id"] for one in found]
            used = await _users(db, runs, ids)
            # others may purge at the same time and be faster
            removed += await _remove(db, [task_id for task_id in ids if task_id not in used])
    return removed


async def _going_on(db: Database) -> list[str]:
    return [found["_id"] async for found in db.runs.find(_GOES_ON, {"_id": 1})]


async def _users(db: Database, runs: list[str], ids: list[str]) -> dict[str, str]:
    """Those of the tasks that are steps of these runs, each with one of them."""
    if not runs:
        return {}
    steps = db.run_steps.find({"run_id": {"$in": runs}, "task_id": {"$in": ids}}, {"run_id": 1, "task_id": 1})
    return {found["task_id"]: found["run_id"] async for found in steps}


async def finish_removals(db: Database) -> None:
    """Remove the output of tasks whose removal was begun by a process that has died."""
    age_ms = {"$subtract": ["$$NOW", {"$ifNull": ["$begun_at", "$$NOW"]}]}
    abandoned = {"$expr": {"$gt": [age_ms, _GIVEN_UP_AFTER_MS]}}
    async for removal in db.removals.find(abandoned):
        kept = db.tasks.find({"_id": {"$in": removal["tasks"]}}, {"_id": 1})
        there = {found["_id"] async for found in kept}
        await _remove_output(db, [task_id for task_id in removal["tasks"] if task_id not in there])
        await db.removals.delete_one({"_id": removal["_id"]})


async def _remove(db: Database, ids: list[str]) -> int:
    """Remove those of the tasks that are over and still there; return how many."""
    removal = {"_id": secrets.token_hex(12)}
    noted = {"tasks": {"$literal": ids}, "begun_at": "$$NOW"}
    await db.removals.update_one(removal, [{"$set": noted}], upsert=True)
    await move_on(db, ids)
    gone = await db.tasks.delete_many({"_id": {"$in": ids}, **_OVER})
    await _remove_output(db, ids)
    await db.removals.delete_one(removal)
    return gone.deleted_count


async def _remove_output(db: Database, ids: list[str]) -> None:
    with pymongo.timeout(_CHUNKS_TIMEOUT_S):
        for start in range(0, len(ids), _TASKS_PER_DELETE):
            some = ids[start : start + _TASKS_PER_DELETE]
            await db.log_chunks.delete_many({"$or": [of_task(task_id) for task_id in some]})
