"""Permits in MongoDB: each is one compare-and-set of the task's document."""

from tesp_api.errors import TaskNotFound
from tesp_api.store.base import Permit, PermitStep, Revocation
from tesp_api.store.mongo_documents import Collection, Document
from tesp_api.store.permits import GOING_ON, check_permit
from tesp_api.tes.states import State

_GOING_ON = [state.value for state in GOING_ON]


async def grant(tasks: Collection, task_id: str, attempt: int, worker: str, step: PermitStep) -> None:
    """Grant it, or do nothing if this worker has it, or more, already.

    Raises:
        PermitRefused: the text says why.
        TaskNotFound: there is none with this id.
    """
    before: Document = {"permit": {"$exists": False}}
    if step == "commit":
        before = {"permit.worker": worker, "permit.step": {"$ne": "revoked"}}
    lives = {"_id": task_id, "attempt": attempt, "state": {"$in": _GOING_ON}}
    change = {"$set": {"permit": {"worker": worker, "step": step}}}
    while True:
        granted = await tasks.update_one(lives | before, change)
        if granted.matched_count:
            return
        found = await tasks.find_one({"_id": task_id}, {"state": 1, "attempt": 1, "permit": 1})
        if found is None or "state" not in found:  # a marker (`mongo_creation`) has none
            raise TaskNotFound(task_id)
        permit = Permit(**found["permit"]) if "permit" in found else None
        state, present = State(found["state"]), found["attempt"]
        check_permit(attempt, worker, step, state=state, present=present, permit=permit)
        if permit is not None and step == "start":  # asked again, since the answer was lost
            return


def may_revoke(revocation: Revocation | None) -> Document:
    """The filter under which the revocation is done at all."""
    if revocation is None or not revocation.unless_begun:
        return {}
    return {"permit.worker": {"$in": [None, "", revocation.worker]}}


REVOKED: Document = {"permit": {"worker": {"$ifNull": ["$permit.worker", ""]}, "step": "revoked"}}
"""For the `$set` of a change's pipeline."""
