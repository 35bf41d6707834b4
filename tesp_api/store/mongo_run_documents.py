"""Runs as documents: one per run in `runs`, one per step in `run_steps`, the run's own logs in `run_logs`.

_id, owner, state, engine, work_url, resumes, uses, exit_code    as in `Run`
created_at, started_at, ended_at                                 microseconds since 1970 UTC
request, params, outputs   JSON text, compressed where it is long (`mongo_documents.to_json`)
tags                       of the request, the only part that lists read: JSON text, too
system_logs                the lines
groups                     their names
doomed                     deleted, and to be removed
to_do                      not ended, or doomed
free_at                    from when on it may be claimed, 0 if nobody holds it
epoch, claim_owner         the number of claims so far, and who has the present one
watch, outbox              who is told of its states, and what they have not been told (`mongo_notices`)
once                       {key, digest} of an idempotent creation; the key is hashed together with its owner
"""

from collections.abc import Mapping
from typing import Any

from bson.int64 import Int64

from tesp_api.store.base import Claim, OnceKey
from tesp_api.store.mongo_documents import (
    Document,
    exact,
    from_json,
    from_micros,
    once_hash,
    printable,
    to_json,
    to_micros,
)
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run, RunGlance, RunToDo, StepRecord
from tesp_api.tes.states import State

LISTED = dict.fromkeys(("request", "params", "outputs", "uses", "system_logs", "watch", "outbox"), 0)
AT_A_GLANCE = {"state": 1, "owner": 1, "groups": 1}
FINAL_STATES = [state.value for state in RUN_FINAL]


def new_run_document(run: Run, once: OnceKey | None = None) -> Document:
    """The document of a run that has just been created."""
    document: Document = {
        "_id": run.id,
        "owner": run.owner,
        "state": State.QUEUED.value,
        "created_at": to_micros(run.created_at),
        "request": to_json(run.request),
        "tags": to_json(run.request.get("tags") or {}),
        "engine": run.engine,
        "work_url": run.work_url,
        "params": None if run.params is None else to_json(run.params),
        "resumes": run.resumes,
        "uses": list(run.uses),
        "groups": [exact(group) for group in run.groups],
        "outputs": "{}",
        "system_logs": [printable(line) for line in run.system_logs],
        "doomed": False,
        "to_do": True,
        "free_at": Int64(0),
        "epoch": 0,
    }
    if once is not None:
        document["once"] = {"key": once_hash(run.owner, once.key), "digest": once.body_digest}
    return document


def to_run(document: Mapping[str, Any]) -> Run:
    """A document as a run; where it was read as `LISTED`, with the tags alone of its request."""
    params, request = document.get("params"), document.get("request")
    return Run(
        id=document["_id"],
        owner=document["owner"],
        state=State(document["state"]),
        created_at=from_micros(document["created_at"]),
        request={"tags": from_json(document["tags"])} if request is None else from_json(request),
        engine=document["engine"],
        work_url=document["work_url"],
        params=None if params is None else from_json(params),
        resumes=document["resumes"],
        uses=tuple(sorted(document.get("uses", ()))),
        groups=_groups(document),
        started_at=from_micros(document["started_at"]) if "started_at" in document else None,
        ended_at=from_micros(document["ended_at"]) if "ended_at" in document else None,
        outputs=from_json(document.get("outputs", "{}")),
        exit_code=document.get("exit_code"),
        system_logs=tuple(document.get("system_logs", ())),
        claim=_claim(document),
        doomed=document["doomed"],
    )


def to_run_glance(document: Mapping[str, Any]) -> RunGlance:
    """A document, read by `AT_A_GLANCE`, as what it says."""
    return RunGlance(State(document["state"]), document["owner"], _groups(document))


def to_run_to_do(document: Mapping[str, Any]) -> RunToDo:
    """A document with a field `is_free`: whether nobody holds it."""
    return RunToDo(
        document["_id"],
        State(document["state"]),
        document["engine"],
        document["work_url"],
        not document["is_free"],
        document["doomed"],
    )


def new_step_document(step: StepRecord) -> Document:
    return {
        "_id": step.id,
        "run_id": step.run_id,
        "key": step.key,
        "name": printable(step.name),
        "task_id": step.task_id,
        "reused_from": step.reused_from,
    }


def to_step(document: Mapping[str, Any]) -> StepRecord:
    return StepRecord(
        document["_id"],
        document["run_id"],
        document["key"],
        document["name"],
        document["task_id"],
        document["reused_from"],
    )


def _groups(document: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(group.encode("latin-1").decode("utf-8", "surrogatepass") for group in document["groups"])


def _claim(document: Mapping[str, Any]) -> Claim | None:
    if "claim_owner" not in document:
        return None
    free_at = from_micros(document["free_at"])
    return Claim(document["_id"], document["claim_owner"], document["epoch"], free_at)
