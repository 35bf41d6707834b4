"""Tasks as documents: one per task, with its request, history and logs of attempts inside.

One document, because a change of one document is all or nothing in every MongoDB, also without
transactions: a state never changes without its line of history. The executors' output, which may be long,
lies in a collection of its own.

    _id, owner, state, created_at, attempt, warnings     as in `Task`; times are microseconds since 1970 UTC
    request      the client's document as JSON text; zlib-compressed bytes if that is long
    logs         [{attempt, document}], documents like `request`
    history      [{at, state, attempt, reason}]
    name, tags   what lists compare (below); `name_full` where `name` had to be cut
    once         {key, digest} of an idempotent creation; the key is hashed together with its owner
    live, begun  whether there is something left to do; whether it has left QUEUED or has a job
    free_at      live tasks: from when on it may be claimed; 0 if nobody holds it
    epoch, claim the number of claims so far, and {owner, call} of the present one
    job          {destination, id, server, asks}, as in `Job`
    permit       {worker, step} of the present attempt, once there is one
    log_bytes    what is kept of its logs, once it is not live any more
    changed_at   when it came into its state
    ended_at     when it reached a final state
    went_to      the destination of its last attempt, also when it has no job any more
    groups       with which the owner shares it, as JSON text, so that an index can answer; absent if none;
                 they are among the tags too, under `GROUP_TAG`
    sealed       the logins of its URLs, encrypted, while it is live
    watch, outbox    who is told of its states, and what they have not been told (`mongo_notices`)

BSON strings must be valid UTF-8, but JSON texts may carry lone surrogates, and field names can hold neither
NULs nor, safely, dots and dollars. So nothing of a client's is a field name, and names and tags are kept as
their UTF-8 bytes read as Latin-1: exact, case-sensitive, in the same order, and plain where they are ASCII.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.int64 import Int64
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from tesp_api.store.base import GROUP_TAG, Claim, Glance, HistoryEntry, Job, OnceKey, Permit, Standing, Task
from tesp_api.tes.states import State

Document = dict[str, Any]
Database = AsyncDatabase[Document]
Collection = AsyncCollection[Document]

WITHOUT_THE_REST = {
    **dict.fromkeys(("history", "tags", "name", "name_full", "once"), 0),
    **dict.fromkeys(("watch.hooks", "watch.about", "outbox"), 0),
}
"""The projection that `to_task` needs: all but what only queries and `history` look at."""

AT_A_GLANCE = {"_id": 1, "state": 1, "owner": 1, "groups": 1}
"""The projection that `to_glance` needs, which `Index.BY_ID` answers alone."""

NAME_LIMIT = 256
_TAG_LIMIT = 256
_COMPRESS_FROM_BYTES = 1024**2
# These two stand for bytes that UTF-8 never uses, so no client's text contains them.
_BETWEEN_KEY_AND_VALUE = "\xff"
_HASHED = "\xfe"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> Int64:
    """An aware `moment` as microseconds since 1970 UTC; BSON's own times have milliseconds only."""
    return Int64((moment - _EPOCH) // _MICROSECOND)


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def exact(text: str) -> str:
    """Any text as a string that BSON can hold, and that compares as the text's UTF-8 bytes do."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def printable(text: str) -> str:
    """A text for people to read; what BSON cannot hold is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def tag_entry(key: str, value: str) -> str:
    """What `tags` holds for a pair, or with "" as the value for the key alone; of bounded length."""
    entry = exact(key) + (_BETWEEN_KEY_AND_VALUE + exact(value) if value else "")
    if len(entry) <= _TAG_LIMIT:
        return entry
    return _HASHED + hashlib.sha256(entry.encode()).hexdigest()


def once_hash(owner: str, key: str) -> str:
    """An owner's idempotency key, of any length, as one short string."""
    return hashlib.sha256(f"{exact(owner)}{_BETWEEN_KEY_AND_VALUE}{exact(key)}".encode()).hexdigest()


def to_json(document: Mapping[str, Any] | Sequence[str]) -> str | bytes:
    """JSON text without needless escapes (a lone surrogate needs one), compressed where it is long."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    data = text.encode("utf-8", "backslashreplace")  # of a surrogate this makes the escape that JSON has, too
    return data.decode() if len(data) < _COMPRESS_FROM_BYTES else zlib.compress(data, 1)


def from_json(stored: str | bytes) -> Any:
    return json.loads(zlib.decompress(stored) if isinstance(stored, bytes) else stored)


def json_bytes(document: Mapping[str, Any]) -> int:
    """How long a document's request and logs are as JSON, not compressed."""
    texts = [document["request"], *(log["document"] for log in document["logs"])]
    return sum(len(zlib.decompress(text) if isinstance(text, bytes) else text) for text in texts)


def new_document(task: Task, once: OnceKey | None) -> Document:
    """The document of a task that has just been created."""
    name = exact(task.request.get("name") or "")
    tags = [*(task.request.get("tags") or {}).items(), *((GROUP_TAG, group) for group in task.groups)]
    created_at = to_micros(task.created_at)
    document: Document = {
        "_id": task.id,
        "owner": task.owner,
        "state": State.QUEUED.value,
        "created_at": created_at,
        "attempt": 0,
        "request": to_json(task.request),
        "warnings": to_json(tuple(task.warnings)),
        "name": name[:NAME_LIMIT],
        "tags": sorted({tag_entry(key, each) for key, value in tags for each in (value, "")}),
        "logs": [],
        "changed_at": created_at,
        "history": [{"at": created_at, "state": State.QUEUED.value, "attempt": 0, "reason": "created"}],
        "live": True,
        "begun": False,
        "free_at": Int64(0),
        "epoch": 0,
    }
    if len(name) > NAME_LIMIT:
        document["name_full"] = name
    if task.groups:
        document["groups"] = json.dumps(list(task.groups))
    if task.sealed:
        document["sealed"] = task.sealed
    if once is not None:
        document["once"] = {"key": once_hash(task.owner, once.key), "digest": once.body_digest}
    return document


def to_task(document: Mapping[str, Any]) -> Task:
    """A document, read by `WITHOUT_THE_REST`, as a task."""
    logs = sorted(document["logs"], key=lambda log: int(log["attempt"]))
    job = document.get("job")
    claim = document.get("claim")
    permit = document.get("permit")
    return Task(
        id=document["_id"],
        owner=document["owner"],
        state=State(document["state"]),
        created_at=from_micros(document["created_at"]),
        request=from_json(document["request"]),
        logs=tuple(from_json(log["document"]) for log in logs),
        attempt=document["attempt"],
        job=job and Job(job["destination"], job["id"], job.get("server", ""), job.get("asks", False)),
        live=document["live"],
        claim=claim
        and Claim(document["_id"], claim["owner"], document["epoch"], from_micros(document["free_at"])),
        warnings=tuple(from_json(document["warnings"])),
        sealed=document.get("sealed", ""),
        permit=permit and Permit(permit["worker"], permit["step"]),
        groups=read_groups(document),
        watched="watch" in document,
    )


def to_glance(document: Mapping[str, Any]) -> Glance:
    """A document, read by `AT_A_GLANCE`, as what it says."""
    return Glance(State(document["state"]), document["owner"], read_groups(document))


def read_groups(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups of a task; those of most tasks are none."""
    return tuple(json.loads(document["groups"])) if document.get("groups") else ()


def to_standing(document: Mapping[str, Any]) -> Standing:
    """A document, of which these fields were read at least."""
    job = document.get("job")
    return Standing(State(document["state"]), document["attempt"], job and Job(job["destination"], job["id"]))


def to_history(document: Mapping[str, Any]) -> list[HistoryEntry]:
    return [
        HistoryEntry(from_micros(entry["at"]), State(entry["state"]), entry["attempt"], entry["reason"])
        for entry in document["history"]
    ]
