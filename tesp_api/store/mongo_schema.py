"""Collections, indexes, and how an older database becomes a newer one.

    tasks       one document per task (`mongo_documents`)
    log_chunks  executors' output (`mongo_logs`)
    removals    which tasks are being deleted (`mongo_removal`)
    reports     what sites have sent by themselves (`mongo_reports`)
    runs        one document per workflow run (`mongo_runs`), run_steps its steps, run_logs its own logs
    notices     what is told by webhooks (`mongo_notices`)
    usage       what was let through of owners with limits (`mongo_usage`)
    users       the server's own users and their tokens (`mongo_accounts`)
    checks      one document that `check` writes to
    meta        `{_id: "schema", version, migrator}`, and `{_id: "restoring"}` while a backup is put back

Ids sort by age (UUIDv7), so newest first is id descending. Every index that a list uses holds the
matches of one filter in that order, and the state beside it, so that ids and states are read from the index
alone. `Index` names them for hints: the planner is not left to guess from what it saw before.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from enum import StrEnum

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, PyMongoError

from tesp_api.errors import StoreError
from tesp_api.store.base import REPORTS_STAY
from tesp_api.store.mongo_connection import OPERATION_TIMEOUT_S
from tesp_api.store.mongo_documents import Database
from tesp_api.store.mongo_notices import NOTICE_INDEXES, OUTBOX_INDEX

_MARKERS_STAY_S = 3600
_MIGRATION_LEASE_MS = 60_000
_RENEWAL_S = 20.0
_WAIT_S = 0.2


class Index(StrEnum):
    """The indexes of `tasks`."""

    BY_ID = "by_id_and_owner"
    BY_STATE = "by_state"
    BY_OWNER = "by_owner"
    BY_NAME = "by_name"
    BY_TAG = "by_tag"
    CLAIMABLE = "claimable_by_owner"
    BY_CLAIM = "by_claim"
    ENDED = "ended"
    LOGS = "logs"
    BY_DESTINATION = "by_destination"
    CHANGED = "changed"
    LIVE_STATES = "live_states"
    ENDINGS = "endings"
    ONCE = "once"
    MARKERS = "markers"
    OUTBOX = "outbox"


TASK_INDEXES = (
    IndexModel(
        [("_id", DESCENDING), ("state", ASCENDING), ("owner", ASCENDING), ("groups", ASCENDING)],
        name=Index.BY_ID,
    ),
    IndexModel([("state", ASCENDING), ("_id", DESCENDING)], name=Index.BY_STATE),
    IndexModel([("owner", ASCENDING), ("state", ASCENDING), ("_id", DESCENDING)], name=Index.BY_OWNER),
    IndexModel(
        [("name", ASCENDING), ("_id", DESCENDING), ("state", ASCENDING), ("owner", ASCENDING)],
        name=Index.BY_NAME,
    ),
    IndexModel(
        [("tags", ASCENDING), ("_id", DESCENDING), ("state", ASCENDING), ("owner", ASCENDING)],
        name=Index.BY_TAG,
    ),
    IndexModel(
        # Beside the filter it must have `live`, too, to answer without documents whose tasks wait.
        [(key, ASCENDING) for key in ("live", "begun", "free_at", "owner", "_id")],
        name=Index.CLAIMABLE,
        partialFilterExpression={"live": True},
    ),
    IndexModel(
        [("claim.owner", ASCENDING), ("claim.call", ASCENDING), ("_id", ASCENDING), ("state", ASCENDING)],
        name=Index.BY_CLAIM,
        partialFilterExpression={"claim.owner": {"$exists": True}},
    ),
    IndexModel(
        [("ended_at", ASCENDING), ("_id", ASCENDING)],
        name=Index.ENDED,
        partialFilterExpression={"live": False},
    ),
    IndexModel(
        [("owner", ASCENDING), ("log_bytes", ASCENDING)],
        name=Index.LOGS,
        partialFilterExpression={"log_bytes": {"$gt": 0}},
    ),
    IndexModel(
        [("went_to", ASCENDING), ("_id", DESCENDING), ("state", ASCENDING), ("owner", ASCENDING)],
        name=Index.BY_DESTINATION,
        partialFilterExpression={"went_to": {"$exists": True}},
    ),
    IndexModel(
        [("changed_at", ASCENDING)],
        name=Index.CHANGED,
        partialFilterExpression={"changed_at": {"$gt": 0}},
    ),
    IndexModel(
        [(key, ASCENDING) for key in ("live", "state", "owner", "groups")],
        name=Index.LIVE_STATES,
        partialFilterExpression={"live": True},
    ),
    IndexModel(
        [(key, ASCENDING) for key in ("ended_at", "state", "owner", "groups")],
        name=Index.ENDINGS,
        partialFilterExpression={"ended_at": {"$gt": 0}},
    ),
    IndexModel(
        [("once.key", ASCENDING)],
        name=Index.ONCE,
        unique=True,
        partialFilterExpression={"once.key": {"$exists": True}},
    ),
    IndexModel(
        [("void_at", ASCENDING)],
        name=Index.MARKERS,
        expireAfterSeconds=_MARKERS_STAY_S,
        partialFilterExpression={"void_at": {"$exists": True}},
    ),
)

REPORT_INDEXES = (
    IndexModel([("put_at", ASCENDING)], name="age", expireAfterSeconds=int(REPORTS_STAY.total_seconds())),
)

_SEEN = {"partialFilterExpression": {"doomed": False}}

RUN_INDEXES = (
    IndexModel([("owner", ASCENDING), ("_id", DESCENDING)], name="by_owner", **_SEEN),
    IndexModel([("groups", ASCENDING), ("_id", DESCENDING)], name="by_group", **_SEEN),
    IndexModel([("state", ASCENDING), ("owner", ASCENDING)], name="by_state", **_SEEN),
    IndexModel([("ended_at", ASCENDING)], name="ended", partialFilterExpression={"ended_at": {"$gt": 0}}),
    IndexModel([("uses", ASCENDING)], name="uses"),
    IndexModel([("free_at", ASCENDING)], name="claimable", partialFilterExpression={"to_do": True}),
    IndexModel(
        [("claim_owner", ASCENDING)],
        name="by_claim",
        partialFilterExpression={"claim_owner": {"$exists": True}},
    ),
    IndexModel(
        [("once.key", ASCENDING)],
        name=Index.ONCE,
        unique=True,
        partialFilterExpression={"once.key": {"$exists": True}},
    ),
)

STEP_INDEXES = (
    IndexModel([("run_id", ASCENDING), ("key", ASCENDING)], name="by_key", unique=True),
    IndexModel([("run_id", ASCENDING), ("_id", ASCENDING)], name="by_run"),
    IndexModel([("run_id", ASCENDING), ("task_id", ASCENDING)], name="by_task"),
)

RUN_LOG_INDEXES = (
    IndexModel(
        [("run_id", ASCENDING), ("name", ASCENDING), ("offset", ASCENDING)], name="by_place", unique=True
    ),
)

INDEXES = {
    "tasks": (*TASK_INDEXES, OUTBOX_INDEX),
    "notices": NOTICE_INDEXES,
    "reports": REPORT_INDEXES,
    "runs": (*RUN_INDEXES, OUTBOX_INDEX),
    "run_steps": STEP_INDEXES,
    "run_logs": RUN_LOG_INDEXES,
}
"""By collection. `users` has one more, which is made where there are users (`mongo_accounts`)."""

COLLECTIONS = (
    *("users", "usage", "runs", "run_steps", "run_logs", "tasks", "log_chunks", "notices"),
    *("reports", "removals", "checks", "meta"),
)
"""All of them, in an order in which they may be read one after the other while servers write: what refers to
others comes before these, and notices after what they are moved from."""

RESTORING = "restoring"
"""In `meta`, while a backup is being put into the database: nothing else may begin to use it."""

Migration = Callable[[Database], Awaitable[None]]


async def _allow_sealed_logins(_: Database) -> None:
    """Older documents stay as they are: without `sealed`, a task has no logins of its own.

    The version keeps servers away that know nothing of it: they would run such tasks without their logins,
    and leave these where they are.
    """


async def _allow_permits(_: Database) -> None:
    """Older documents stay as they are: nothing was granted, and their workers do not ask.

    The version keeps servers away that would give an attempt up without revoking its permits.
    """


async def _know_owners(db: Database) -> None:
    """Tasks have owners who see them alone, and groups; the index by id tells of them."""
    await _drop_index(db, "by_id")


async def _allow_runs(_: Database) -> None:
    """There are no workflow runs yet.

    The version keeps servers away that would take a run's task anywhere, be its files within reach or not.
    """


async def _queue_by_owner(db: Database) -> None:
    """Those who wait take turns: the index of what can be claimed knows their owners."""
    await _drop_index(db, "claimable")


async def _count_logs(db: Database) -> None:
    """Tasks that are over know how much is kept of their logs. Reads all logs there are, once."""
    task_id = {"$arrayElemAt": [{"$split": ["$_id", "/"]}, 0]}
    await db.log_chunks.aggregate(
        [
            {"$group": {"_id": task_id, "log_bytes": {"$sum": {"$toLong": "$size"}}}},
            {"$match": {"log_bytes": {"$gt": 0}}},
            {"$merge": {"into": "tasks", "whenMatched": "merge", "whenNotMatched": "discard"}},
        ],
        allowDiskUse=True,
    )


async def _date_changes(db: Database) -> None:
    """Tasks know where they went, and when they came into their state, from now on.

    The version keeps servers away whose changes nobody would hear of.
    """
    had = {"job.destination": {"$exists": True}, "went_to": {"$exists": False}}
    await db.tasks.update_many(had, [{"$set": {"went_to": "$job.destination"}}])


async def _allow_watches(_: Database) -> None:
    """Older documents stay as they are: nobody is told of their states.

    The version keeps servers away that would change states without announcing them.
    """


async def _drop_index(db: Database, name: str) -> None:
    if name in await db.tasks.index_information():
        await db.tasks.drop_index(name)


MIGRATIONS: tuple[Migration, ...] = (
    _allow_sealed_logins,
    _allow_permits,
    _know_owners,
    _queue_by_owner,
    _count_logs,
    _allow_runs,
    _date_changes,
    _allow_watches,
)
"""What leads from version n + 1 to version n + 2, at index n.

A step may be interrupted and run again, and run while another process does the same: each of its writes
must be one that can be repeated. Servers of the older version should be stopped before.
"""


def newest_version() -> int:
    return 1 + len(MIGRATIONS)


async def prepare(db: Database) -> None:
    """Bring the database to the newest schema and make the indexes; several processes may do so at once.

    Raises:
        StoreError: a newer TESP made the database, or something else did, or it is half restored.
    """
    await _sign(db)
    mine = secrets.token_hex(8)
    while (version := await _version(db)) < newest_version():
        if await _may_migrate(db, mine):
            await _run_step(db, mine, version)
            await _end_step(db, version)
        else:
            await asyncio.sleep(_WAIT_S)
    for collection, indexes in INDEXES.items():
        await db[collection].create_indexes(list(indexes))


async def _sign(db: Database) -> None:
    """Write down the version of a new database; one without a version that has tasks is not ours."""
    if await db.meta.find_one({"_id": RESTORING}):
        raise StoreError(
            f"the MongoDB database {db.name!r} is half restored: wait for the end of `tesp db restore`, or,"
            " if that was broken off, call it again with --force"
        )
    if await db.meta.find_one({"_id": "schema"}):
        return
    if await db.tasks.find_one({}, {"_id": 1}):
        # Unless another server has just made it: it signs before it stores anything.
        if await db.meta.find_one({"_id": "schema"}):
            return
        raise StoreError(
            f"the MongoDB database {db.name!r} has a collection `tasks` that is not TESP's:"
            " set store.database to another name"
        )
    try:
        await db.meta.insert_one({"_id": "schema", "version": newest_version()})
    except DuplicateKeyError:
        return


async def _version(db: Database) -> int:
    found = await db.meta.find_one({"_id": "schema"})
    version = int(found["version"]) if found else 0
    if version > newest_version():
        raise StoreError(
            f"the MongoDB database {db.name!r} has schema {version}, but this tesp knows only up to"
            f" {newest_version()}: start the newer tesp that made it, or set store.database to another name"
        )
    return version


async def _may_migrate(db: Database, mine: str) -> bool:
    """Take or keep the right to migrate; it is lost by who is silent for a minute."""
    free = {
        "$or": [
            {"migrator": {"$exists": False}},
            {"migrator.name": mine},
            {"$expr": {"$lte": ["$migrator.until", "$$NOW"]}},
        ]
    }
    until = {"$add": ["$$NOW", _MIGRATION_LEASE_MS]}
    taken = await db.meta.update_one(
        {"_id": "schema", **free}, [{"$set": {"migrator": {"name": mine, "until": until}}}]
    )
    return taken.matched_count == 1


async def _run_step(db: Database, mine: str, version: int) -> None:
    """Do what leads to the next version, and keep the right to it however long it takes."""
    step = asyncio.ensure_future(MIGRATIONS[version - 1](db))
    try:
        while not (await asyncio.wait([step], timeout=_RENEWAL_S))[0]:
            with contextlib.suppress(PyMongoError), pymongo.timeout(OPERATION_TIMEOUT_S):
                await _may_migrate(db, mine)
    finally:
        step.cancel()
    await step


async def _end_step(db: Database, version: int) -> None:
    """One version further, unless another process has got there already.

    Whoever has done the step may say so: one who was silent too long, and lost the right to it, as well.
    """
    await db.meta.update_one(
        {"_id": "schema", "version": version},
        {"$set": {"version": version + 1}, "$unset": {"migrator": 1}},
    )
