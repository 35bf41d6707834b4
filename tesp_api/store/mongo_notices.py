"""The outbox in MongoDB: how a change is announced in the step that makes it, and how it gets on from there.

A change of one document is all that MongoDB does in one step. So who is told of what is in the document of
the task, or of the run, and so is at first what they are to be told:

    watch    {hooks: [{receiver, states}], about, changes}, as in `Watch`; `changes` counts them
    outbox   [{receiver, number, state, previous, attempt, at}]

From there it is moved into the collection `notices`, by whoever looks for some first. That is two steps. One
who dies in between, or another one who does the same, moves nothing twice, for the id is made of what it is
about; and what was delivered stays there for longer than anybody takes for it.

    _id          EVENT/RECEIVER, where an event's id has no slash
    event_id, receiver, kind, subject, number, state, previous, attempt, at, about    as in `Notice`
    waiting      whether it is to be delivered still
    due_at       from when on it may be claimed
    tries, fate, said, done_at
"""

from collections.abc import Iterable
from typing import Any

from bson.int64 import Int64
from pymongo import ASCENDING, IndexModel, UpdateOne

from tesp_api.store.mongo_documents import Collection, Database, Document, exact, from_micros
from tesp_api.store.outbox import Delivery, Kind, Notice, Watch, event_id_of
from tesp_api.tes.states import State

OUTBOX_INDEX = IndexModel(
    [("outbox.at", ASCENDING)], name="outbox", partialFilterExpression={"outbox.at": {"$gt": 0}}
)
"""Of tasks and runs: those with something to be moved on."""

NOTICE_INDEXES = (
    IndexModel(
        # Beside the filter it must have `waiting`, too, to answer without documents.
        [(key, ASCENDING) for key in ("waiting", "receiver", "subject", "number", "due_at")],
        name="waiting",
        partialFilterExpression={"waiting": True},
    ),
    IndexModel([("done_at", ASCENDING)], name="done", partialFilterExpression={"done_at": {"$gt": 0}}),
    IndexModel([("subject", ASCENDING), ("number", ASCENDING)], name="by_subject"),
)

_AT_ONCE = 100
_WATCHED: Document = {"outbox.at": {"$gt": 0}}
_STAYS: Document = {"$or": [{"epoch": {"$gt": 0}}, {"free_at": 0}]}
"""A run that is not held back, and may be refused still (`mongo_run_creation`)."""


def first_watch(watch: Watch, state: State, at: Int64) -> Document:
    """What a new document has of it; its first state is the first change."""
    hooks = [{"receiver": exact(one.receiver), "states": sorted(one.states)} for one in watch.hooks]
    parts: Document = {"watch": {"hooks": hooks, "about": watch.about, "changes": 1}}
    told = {"number": 1, "state": state.value, "previous": None, "attempt": 0, "at": at}
    outbox = [{"receiver": exact(receiver), **told} for receiver in watch.receivers(state)]
    return parts | ({"outbox": outbox} if outbox else {})


def announcing(to: State, at: Any, attempt: Any) -> Document:
    """What a change to the state `to` sets besides, in the stage of a pipeline that sets the state."""
    is_watched = {"$ne": [{"$type": "$watch"}, "missing"]}
    number = {"$add": ["$watch.changes", 1]}
    wanted = {
        "$filter": {"input": {"$ifNull": ["$watch.hooks", []]}, "cond": {"$in": [to.value, "$$this.states"]}}
    }
    told = {
        "receiver": "$$this.receiver",
        "number": number,
        "state": to.value,
        "previous": "$state",
        "attempt": attempt,
        "at": at,
    }
    # `$map` names its variable by `as`, which is `this` unless told otherwise.
    new = {"$map": {"input": wanted, "in": told}}
    outbox = {"$concatArrays": [{"$ifNull": ["$outbox", []]}, new]}
    return {
        "watch": {
            "$cond": [is_watched, {"$mergeObjects": ["$watch", {"changes": number}]}, "$$REMOVE"],
        },
        "outbox": {"$cond": [is_watched, outbox, "$$REMOVE"]},
    }


async def move_on(db: Database, subjects: Iterable[str] | None = None) -> None:
    """Move what is in the documents into the collection: of these tasks or runs, or of all."""
    where = _WATCHED if subjects is None else _WATCHED | {"_id": {"$in": list(subjects)}}
    parts = {"watch.about": 1, "outbox": 1}
    for document in await db.tasks.find(where, parts).limit(_AT_ONCE).to_list():
        await _move(db, db.tasks, document, "task")
    for document in await db.runs.find(where | _STAYS, parts).limit(_AT_ONCE).to_list():
        await _move(db, db.runs, document, "run")


async def _move(db: Database, documents: Collection, document: Document, kind: Kind) -> None:
    new = [_new_notice(document, kind, told) for told in document["outbox"]]
    puts = [UpdateOne({"_id": one["_id"]}, {"$setOnInsert": one}, upsert=True) for one in new]
    await db.notices.bulk_write(puts)
    moved = {"number": {"$in": [told["number"] for told in document["outbox"]]}}
    await documents.update_one({"_id": document["_id"]}, {"$pull": {"outbox": moved}})


def _new_notice(document: Document, kind: Kind, told: Document) -> Document:
    event_id = event_id_of(document["_id"], told["number"])
    return {
        "_id": f"{event_id}/{told['receiver']}",
        "event_id": event_id,
        "kind": kind,
        "subject": document["_id"],
        "about": document["watch"]["about"],
        **told,
        "waiting": True,
        "due_at": Int64(0),
        "tries": 0,
        "fate": "waiting",
        "said": "",
    }


def to_notice(document: Document) -> Notice:
    previous = document["previous"]
    return Notice(
        key=document["_id"],
        event_id=document["event_id"],
        receiver=inexact(document["receiver"]),
        kind=document["kind"],
        subject=document["subject"],
        number=document["number"],
        state=State(document["state"]),
        previous=None if previous is None else State(previous),
        attempt=document["attempt"],
        at=from_micros(document["at"]),
        about=document["about"],
        tries=document["tries"],
    )


def to_delivery(document: Document) -> Delivery:
    done_at = document.get("done_at")
    return Delivery(
        document["event_id"],
        inexact(document["receiver"]),
        State(document["state"]),
        document["attempt"],
        from_micros(document["at"]),
        document["fate"],
        document["tries"],
        document["said"],
        None if done_at is None else from_micros(done_at),
    )


def inexact(text: str) -> str:
    """What `exact` was made of."""
    return text.encode("latin-1").decode("utf-8", "surrogatepass")
