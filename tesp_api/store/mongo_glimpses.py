"""Rows of lists, and tasks that have changed, read from MongoDB."""

from collections.abc import Mapping, Sequence
from typing import Any

from tesp_api.store.base import PAGE_DOCUMENTS_BYTES
from tesp_api.store.glimpses import RECENT_MAX, ListedTask, RecentChanges, TaskChange
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_documents import (
    Collection,
    Database,
    from_json,
    from_micros,
    json_bytes,
    read_groups,
)
from tesp_api.store.mongo_schema import Index
from tesp_api.tes.states import State

_IDS_PER_QUERY = 50
_LISTED = dict.fromkeys(("owner", "state", "created_at", "attempt", "went_to", "ended_at", "request"), 1)
_CHANGED = {"_id": 1, "changed_at": 1, "state": 1, "attempt": 1, "owner": 1, "groups": 1}
_LATE_MICROS = 5_000_000
"""A change may be seen so long after the time that it has: clocks differ, and writes take a while."""


async def read_listed(tasks: Collection, ids: Sequence[str]) -> list[ListedTask]:
    """The rows of these tasks, in this order, as many as there is room for their documents."""
    listed: list[ListedTask] = []
    read_bytes = 0
    for start in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[start : start + _IDS_PER_QUERY]
        found = {one["_id"]: one async for one in tasks.find({"_id": {"$in": some}}, _LISTED)}
        for document in (found[task_id] for task_id in some if "state" in found.get(task_id, {})):
            read_bytes += json_bytes({"request": document["request"], "logs": ()})
            if read_bytes > PAGE_DOCUMENTS_BYTES and listed:
                return listed
            listed.append(_to_listed(document))
    return listed


async def read_oldest_queued(tasks: Collection) -> str | None:
    """The id of the oldest task that is QUEUED."""
    queued = tasks.find({"state": State.QUEUED}, {"_id": 1}, hint=Index.BY_STATE).sort("_id", 1).limit(1)
    found = await queued.to_list()
    return str(found[0]["_id"]) if found else None


async def read_changes(db: Database, clock: MongoClock, cursor: str | None) -> RecentChanges:
    """What any server has changed since the cursor was given out, and a little of what was before."""
    told = await db.meta.find_one({"_id": "schema"}, {"now": {"$add": [clock.now(), 0]}})
    here = str(int(told["now"])) if told else "0"
    if cursor is None:
        return RecentChanges([], here)
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        return RecentChanges([], here, missed=True)
    since = {"changed_at": {"$gt": max(0, int(cursor) - _LATE_MICROS)}}
    newest = db.tasks.find(since, _CHANGED, hint=Index.CHANGED).sort("changed_at", -1).limit(RECENT_MAX + 1)
    found = await newest.to_list()
    return RecentChanges(
        [_to_change(one) for one in reversed(found[:RECENT_MAX])], here, missed=len(found) > RECENT_MAX
    )


def _to_change(document: Mapping[str, Any]) -> TaskChange:
    return TaskChange(
        document["_id"],
        State(document["state"]),
        document["attempt"],
        from_micros(document["changed_at"]),
        document["owner"],
        read_groups(document),
    )


def _to_listed(document: Mapping[str, Any]) -> ListedTask:
    request = from_json(document["request"])
    ended_at = document.get("ended_at")
    return ListedTask(
        document["_id"],
        document["owner"],
        State(document["state"]),
        from_micros(document["created_at"]),
        document["attempt"],
        request.get("name") or "",
        document.get("went_to") or "",
        None if ended_at is None else from_micros(ended_at),
        request["executors"][0]["image"] if request.get("executors") else "",
        request.get("tags") or {},
    )
