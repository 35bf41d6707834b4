"""The upkeep of a MongoDB database: what there is, and its schema.

Servers at work on it are known by their claims on tasks and runs alone: one that has nothing to do has none.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pymongo
from pymongo import AsyncMongoClient

from tesp_api.errors import StoreError, UpkeepRefused
from tesp_api.store import mongo_backup, mongo_schema
from tesp_api.store.backup_file import BackupReader
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_connection import connect
from tesp_api.store.mongo_documents import Database, Document
from tesp_api.store.mongo_errors import FOREIGN, translated
from tesp_api.store.upkeep import Inspection, Upgrade, refuse_kind

KIND = "mongodb"


class MongoUpkeep:
    """The `Upkeep` of `database` of the MongoDB at `url`."""

    def __init__(self, url: str, *, database: str) -> None:
        self._url = url
        self._database = database

    async def inspect(self) -> Inspection:
        newest = mongo_schema.newest_version()
        place = f"MongoDB, database {self._database}"
        async with self._opened() as (client, db):
            notes = [await _kind_of_server(client)]
            if await db.meta.find_one({"_id": mongo_schema.RESTORING}):
                return Inspection(place, None, newest, faults=["a restore was broken off"], notes=notes)
            meta = await db.meta.find_one({"_id": "schema"})
            if meta is None:
                is_foreign = await db.tasks.find_one({}, {"_id": 1}) is not None
                faults = ["it has a collection `tasks` that is not TESP's"] if is_foreign else []
                return Inspection(place, None, newest, faults=faults, notes=notes)
            schema = int(meta["version"])
            if "migrator" in meta:
                notes.append("it is being upgraded, or an upgrade was broken off")
            faults = await _missing(db) if schema == newest else []
            tasks = await _by_state(db, "tasks", {"state": {"$gt": ""}})  # by its index
            runs = await _by_state(db, "runs", {"doomed": False})
            users = await db.users.count_documents({})
            sizes = {"$group": {"_id": None, "count": {"$sum": {"$size": {"$ifNull": ["$tokens", []]}}}}}
            tokens = sum([int(one["count"]) async for one in await db.users.aggregate([sizes])])
        return Inspection(place, schema, newest, tasks, runs, users, tokens, faults, notes)

    async def upgrade(self, *, keep_copy: bool) -> Upgrade:
        """See `Upkeep.upgrade`; no copy is made, be it asked for or not. Makes indexes that are missing."""
        async with self._opened() as (_, db):
            before = await _schema(db)
            if before < mongo_schema.newest_version():
                await _refuse_servers(db, "upgraded")
            await mongo_schema.prepare(db)
        return Upgrade(before, mongo_schema.newest_version())

    async def back_up(
        self, file: BinaryIO, about: Mapping[str, Any], extras: Mapping[str, bytes], scratch: Path
    ) -> Mapping[str, int]:
        async with self._opened() as (client, db):
            schema = await _schema(db)
            if schema > (newest := mongo_schema.newest_version()):
                raise UpkeepRefused(
                    f"the database has schema {schema}, but this tesp knows only up to {newest}:"
                    " use the newer tesp"
                )
            about = {**about, "store": KIND, "database": self._database}
            return await mongo_backup.write(client, db, file, about, extras)

    async def restore(self, backup: BackupReader, *, force: bool, aside: Path) -> None:
        """See `Upkeep.restore`; nothing of the database is put aside."""
        refuse_kind(backup, KIND, mongo_schema.newest_version())
        await asyncio.to_thread(mongo_backup.look_through, BackupReader(backup.file))
        async with self._opened() as (_, db):
            await _refuse_servers(db, "restored")
            if there := await self._what_is_there(db, force):
                raise UpkeepRefused(f"the MongoDB database {self._database!r} has {there}")
            await mongo_backup.put_back(db, BackupReader(backup.file))
            if backup.header["schema"] == mongo_schema.newest_version():
                await mongo_schema.prepare(db)  # the indexes; an older one is left as it is

    # --

    async def _what_is_there(self, db: Database, force: bool) -> str:
        """What forbids a restore, and what to do, in words; "" if nothing does."""
        is_half = await db.meta.find_one({"_id": mongo_schema.RESTORING}) is not None
        is_ours = is_half or await db.meta.find_one({"_id": "schema"}) is not None
        found = {
            name: await db[name].estimated_document_count()
            for name in mongo_schema.COLLECTIONS
            if name not in ("meta", "checks") and await db[name].find_one({}, {"_id": 1}) is not None
        }
        if not found or (is_ours and force):
            return ""
        counts = ", ".join(f"about {count} documents in {name}" for name, count in found.items())
        if not is_ours:
            return f"{counts}, which are not TESP's: set store.database to another name"
        half = " of a restore that was broken off" if is_half else ""
        return f"{counts}{half}: set store.database to another name, or say --force, which REMOVES them first"

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[AsyncMongoClient[Document], Database]]:
        """The database, for work that may take long; the driver's errors become ours."""
        try:
            client = await connect(self._url)
            async with client:
                with pymongo.timeout(0):  # 0 is no limit; None would be the client's
                    yield client, client[self._database]
        except FOREIGN as error:
            raise translated(error) from error


async def _kind_of_server(client: AsyncMongoClient[Document]) -> str:
    hello = await client.admin.command("hello")
    if "setName" in hello:
        return f"a replica set ({hello['setName']})"
    if hello.get("msg") == "isdbgrid":
        return "a sharded cluster"
    return "a server that stands alone: a backup that is taken while servers run is not of one moment"


async def _schema(db: Database) -> int:
    """The version of the database.

    Raises:
        UpkeepRefused: there is none, or it is half restored.
        StoreError: it is another program's.
    """
    if await db.meta.find_one({"_id": mongo_schema.RESTORING}):
        raise UpkeepRefused(f"the MongoDB database {db.name!r} is half restored: `tesp db restore` it again")
    meta = await db.meta.find_one({"_id": "schema"})
    if meta is not None:
        return int(meta["version"])
    if await db.tasks.find_one({}, {"_id": 1}):
        raise StoreError(f"the MongoDB database {db.name!r} has a collection `tasks` that is not TESP's")
    raise UpkeepRefused(f"there is nothing in the MongoDB database {db.name!r} yet: the first start makes it")


async def _missing(db: Database) -> list[str]:
    """The indexes that are not there."""
    faults = []
    for collection, indexes in mongo_schema.INDEXES.items():
        there = await db[collection].index_information()
        names = {str(index.document["name"]) for index in indexes}
        faults += [f"the index {name} of {collection} is not there" for name in sorted(names - there.keys())]
    return faults


async def _by_state(db: Database, collection: str, where: Document) -> dict[str, int]:
    steps: list[Document] = [{"$match": where}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
    return {one["_id"]: int(one["count"]) async for one in await db[collection].aggregate(steps)}


async def _refuse_servers(db: Database, done: str) -> None:
    """Return if no server has claimed anything, as far as its lease goes.

    Raises:
        UpkeepRefused: one has.
    """
    is_held = {"$expr": {"$gt": ["$free_at", MongoClock(None).now()]}}
    tasks = await _distinct(db, "tasks", "claim.owner", {"live": True, "claim": {"$exists": True}, **is_held})
    runs = await _distinct(db, "runs", "claim_owner", {"to_do": True, **is_held})
    owners = tasks | runs
    if owners:
        raise UpkeepRefused(
            f"servers are at work on the MongoDB database {db.name!r}, or died less than scheduler.lease_s"
            f" ago: {', '.join(sorted(owners))}. Stop all of them before it is {done}"
        )


async def _distinct(db: Database, collection: str, field: str, where: Document) -> set[str]:
    """What there is in the field; MongoDB's own `distinct` does not know what time it is."""
    steps: list[Document] = [{"$match": where}, {"$group": {"_id": f"${field}"}}]
    return {one["_id"] async for one in await db[collection].aggregate(steps)}
