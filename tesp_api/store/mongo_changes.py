"""Changes of a task in MongoDB: its state, its job, its logs, its end.

Each is one compare-and-set of the task's document: the claim and the state that it needs are part of the
filter, so what is checked still holds when it is written, and a stale claim changes nothing.
"""

from typing import Any

from bson.int64 import Int64
from pymongo import ReturnDocument

from tesp_api.errors import AttemptBegun, ClaimLost, TaskNotFound, TaskNotOver, TransitionRefused
from tesp_api.store.base import Changes, Claim, Glance, Task
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_documents import (
    AT_A_GLANCE,
    WITHOUT_THE_REST,
    Collection,
    Document,
    printable,
    to_glance,
    to_json,
    to_task,
)
from tesp_api.store.mongo_notices import announcing
from tesp_api.store.mongo_permits import REVOKED, may_revoke
from tesp_api.store.mongo_schema import Index
from tesp_api.tes.states import FINAL, TRANSITIONS, State

_NOTHING = Changes()
_FINAL = [state.value for state in FINAL]
_OF_THE_LIVING = ("job", "permit", "claim", "begun", "free_at", "sealed")


def held(claim: Claim) -> Document:
    """The filter that finds the claim's task only as long as the claim is its present one."""
    return {"_id": claim.task_id, "claim.owner": claim.owner, "epoch": claim.epoch}


async def read_state(tasks: Collection, task_id: str) -> State:
    """The state alone, from an index.

    Raises:
        TaskNotFound: there is none with this id.
    """
    found = await tasks.find_one({"_id": task_id}, {"_id": 1, "state": 1}, hint=Index.BY_ID)
    if found is None or found.get("state") is None:  # a marker (`mongo_creation`) has none
        raise TaskNotFound(task_id)
    return State(found["state"])


async def read_glances(tasks: Collection, ids: list[str]) -> list[Glance | None]:
    """The states of these tasks and whose they are, from an index; None where there is no such task."""
    found = tasks.find({"_id": {"$in": ids}}, AT_A_GLANCE, hint=Index.BY_ID)
    glances = {one["_id"]: to_glance(one) async for one in found if one.get("state") is not None}
    return [glances.get(task_id) for task_id in ids]


async def cancel(tasks: Collection, clock: MongoClock, task_id: str, reason: str) -> State:
    """Move the task to CANCELING where the table allows it; return its state afterwards.

    Raises:
        TaskNotFound: there is none with this id.
    """
    sources = _sources(State.CANCELING)
    change = _pipeline(_NOTHING, clock, to=State.CANCELING, reason=reason)
    while True:
        moved = await tasks.update_one({"_id": task_id, "state": {"$in": sources}}, change)
        if moved.matched_count:
            return State.CANCELING
        state = await read_state(tasks, task_id)
        if state not in sources:  # else it has just been set back: try again
            return state


async def move(
    tasks: Collection, clock: MongoClock, to: State, changes: Changes, *, claim: Claim, reason: str
) -> Task:
    """Apply `changes` and move the claim's task to `to`.

    Raises:
        ClaimLost: the claim is not the task's present one.
        TransitionRefused: the table does not allow it.
        AttemptBegun: the changes revoke what has begun.
    """
    sources = _sources(to)
    change = _pipeline(changes, clock, to=to, reason=reason)
    where = held(claim) | may_revoke(changes.revokes) | {"state": {"$in": sources}}
    while True:
        moved = await _apply(tasks, where, change)
        if moved is not None:
            return moved
        state = await _state_under(tasks, claim)
        if state not in sources:
            raise TransitionRefused(claim.task_id, state, to)
        await _check_not_begun(tasks, claim, changes)


async def change(
    tasks: Collection, clock: MongoClock, changes: Changes, *, claim: Claim, reason: str | None
) -> Task:
    """Apply `changes` to the claim's task; with a reason, note it in the history.

    Raises:
        ClaimLost: the claim is not the task's present one.
        AttemptBegun: the changes revoke what has begun.
    """
    where, change = held(claim) | may_revoke(changes.revokes), _pipeline(changes, clock, reason=reason)
    while True:
        changed = await _apply(tasks, where, change)
        if changed is not None:
            return changed
        await _check_not_begun(tasks, claim, changes)


async def end_life(tasks: Collection, claim: Claim, log_bytes: int) -> str | None:
    """Nothing is left to do: no job, no claim, no secrets, not live. Returns the id of the job it had.

    No more logs are written from now on: `log_bytes` are kept.

    Raises:
        ClaimLost: the claim is not the task's present one.
        TaskNotOver: the task has not ended.
    """
    before = await tasks.find_one_and_update(
        held(claim) | {"state": {"$in": _FINAL}},
        {"$set": {"live": False, "log_bytes": Int64(log_bytes)}, "$unset": dict.fromkeys(_OF_THE_LIVING, 1)},
        projection={"job": 1},
    )
    if before is None:
        raise TaskNotOver(claim.task_id, await _state_under(tasks, claim))
    return before["job"]["id"] if "job" in before else None


async def check_claim(tasks: Collection, claim: Claim) -> None:
    """Return if `claim` is the task's present claim, expired or not.

    Raises:
        ClaimLost: it is not, or there is no such task.
    """
    await _state_under(tasks, claim)


async def _state_under(tasks: Collection, claim: Claim) -> State:
    found = await tasks.find_one(held(claim), {"state": 1})
    if found is None:
        raise ClaimLost(claim.task_id)
    return State(found["state"])


async def _check_not_begun(tasks: Collection, claim: Claim, changes: Changes) -> None:
    """Return if what kept the changes from being made is no more.

    Raises:
        ClaimLost: the claim is not the task's present one.
        AttemptBegun: the changes revoke what has begun.
    """
    found = await tasks.find_one(held(claim), {"attempt": 1, "permit": 1})
    if found is None:
        raise ClaimLost(claim.task_id)
    revocation = changes.revokes
    worker = found.get("permit", {}).get("worker", "")
    if revocation is not None and revocation.unless_begun and worker not in ("", revocation.worker):
        raise AttemptBegun(claim.task_id, found["attempt"])


async def _apply(tasks: Collection, where: Document, change: list[Document]) -> Task | None:
    found = await tasks.find_one_and_update(
        where, change, projection=WITHOUT_THE_REST, return_document=ReturnDocument.AFTER
    )
    return None if found is None else to_task(found)


def _sources(to: State) -> list[str]:
    return [state.value for state, following in TRANSITIONS.items() if to in following]


def _pipeline(
    changes: Changes, clock: MongoClock, *, to: State | None = None, reason: str | None
) -> list[Document]:
    """A change as an update pipeline. What comes from outside is a literal: it may begin with a dollar."""
    now = clock.now()
    first: Document = {}
    if to is not None:
        first["state"] = to.value
        first["changed_at"] = now
        first |= announcing(to, now, "$attempt" if changes.attempt is None else changes.attempt)
    if to in FINAL:
        first["ended_at"] = now
    if changes.attempt is not None:
        first["attempt"] = changes.attempt
        first["permit"] = "$$REMOVE"
    if changes.job is not None:
        job = changes.job
        about = {"destination": job.destination, "id": job.job_id, "server": job.server, "asks": job.asks}
        first["job"] = {"$literal": about}
        first["went_to"] = {"$literal": job.destination}
    if changes.revokes is not None:
        first |= REVOKED
    has_job = {"$ne": [{"$type": "$job"}, "missing"]}
    second: Document = {"begun": {"$or": [{"$ne": ["$state", State.QUEUED.value]}, has_job]}}
    if changes.log is not None:
        second["logs"] = _logs_with(to_json(changes.log))
    if reason is not None:
        entry = {
            "at": now,
            "state": "$state",
            "attempt": "$attempt",
            "reason": {"$literal": printable(reason)},
        }
        second["history"] = {"$concatArrays": ["$history", [entry]]}
    return [{"$set": first}, {"$set": second}] if first else [{"$set": second}]


def _logs_with(log: Any) -> Document:
    """The logs of all attempts, that of the present one replaced or added."""
    others = {"$filter": {"input": "$logs", "cond": {"$ne": ["$$this.attempt", "$attempt"]}}}
    return {"$concatArrays": [others, [{"attempt": "$attempt", "document": {"$literal": log}}]]}
