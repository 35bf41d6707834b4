"""A MongoDB database as a stream of documents, exactly as they are stored, and back.

All is read as it was at one moment, where MongoDB can: in a replica set. A server that stands alone is read
one collection after the other (`COLLECTIONS`).
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, BinaryIO, cast

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from tesp_api.errors import StoreError, UpkeepRefused
from tesp_api.store.backup_file import BackupReader, BackupWriter
from tesp_api.store.mongo_documents import Database, Document
from tesp_api.store.mongo_schema import COLLECTIONS, RESTORING

_BATCH = 1000
_SNAPSHOT_TOO_OLD = 239
_SNAPSHOT_UNAVAILABLE = 246
_OF_NO_VALUE = ("checks",)  # servers write there to see whether they can
_COUNTED = ("tasks", "runs", "users")
_RAW = CodecOptions(document_class=RawBSONDocument)


async def write(
    client: AsyncMongoClient[Document],
    db: Database,
    file: BinaryIO,
    about: Mapping[str, Any],
    extras: Mapping[str, bytes],
) -> Mapping[str, int]:
    """Write a backup of the database; returns the counts.

    Raises:
        UpkeepRefused: it is being upgraded.
        StoreError: it took longer than MongoDB keeps what was.
    """
    async with _snapshot(client) as session:
        meta = await db.meta.find_one({"_id": "schema"}, session=session)
        if meta is None or "migrator" in meta:
            raise UpkeepRefused(f"the MongoDB database {db.name!r} is being upgraded: wait for its end")
        exact = {"schema": int(meta["version"]), "exact": session is not None}
        writer = BackupWriter(file, {**about, **exact})
        for name, data in extras.items():
            writer.begin(name)
            writer.write(data)
        counts: dict[str, int] = {}
        for name in COLLECTIONS:
            if name in _OF_NO_VALUE:
                continue
            writer.begin(name)
            counts[name] = 0
            async for batch in db[name].find_raw_batches({}, session=session, batch_size=_BATCH):
                data = cast(bytes, batch)  # whatever its type says
                writer.write(data)
                counts[name] += len(_documents(data))
        told = {name: counts[name] for name in _COUNTED}
        writer.finish(told)
        return told


def look_through(backup: BackupReader) -> None:
    """Read all of it, before anything is changed for it.

    Raises:
        UpkeepRefused: it is damaged, or has no database of ours.
    """
    has_schema = False
    for name, data in backup.data():
        documents = _documents(data) if name in COLLECTIONS else []
        try:
            if name == "meta":
                has_schema |= any("version" in bson.decode(document) for document in documents)
        except BSONError:
            raise UpkeepRefused("the file is damaged: what should be a document is none") from None
    if not has_schema:
        raise UpkeepRefused("the file is damaged, or no backup of tesp's: it has no schema")


async def put_back(db: Database, backup: BackupReader) -> None:
    """Put the documents of a backup in place of all that is in our collections.

    Until the end the database is marked as half restored, so that no server begins to use it.
    """
    await db.meta.update_one({"_id": RESTORING}, {"$set": {"_id": RESTORING}}, upsert=True)
    await db.meta.delete_one({"_id": "schema"})
    for name in COLLECTIONS:
        if name != "meta":
            await db[name].drop()
    meta: list[Document] = []
    for name, data in backup.data():
        if name == "meta":
            meta += [bson.decode(document) for document in _documents(data)]
        elif name in COLLECTIONS and name not in _OF_NO_VALUE:
            documents = [RawBSONDocument(document) for document in _documents(data)]
            await db.get_collection(name, codec_options=_RAW).insert_many(documents)
    await db.meta.insert_many(meta)
    await db.meta.delete_one({"_id": RESTORING})


@contextlib.asynccontextmanager
async def _snapshot(client: AsyncMongoClient[Document]) -> AsyncIterator[AsyncClientSession | None]:
    """A session that reads all as it was when it was first used; None where there is no such thing."""
    hello = await client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        yield None
        return
    try:
        async with client.start_session(snapshot=True) as session:
            yield session
    except OperationFailure as error:
        if error.code in (_SNAPSHOT_TOO_OLD, _SNAPSHOT_UNAVAILABLE):
            raise StoreError(
                "the backup took longer than MongoDB keeps what was: raise its parameter"
                " minSnapshotHistoryWindowInSeconds (300 unless set), or stop the servers meanwhile"
            ) from error
        raise


def _documents(batch: bytes) -> list[bytes]:
    """The BSON documents that stand one behind the other."""
    found, at = [], 0
    while at < len(batch):
        size_bytes = int.from_bytes(batch[at : at + 4], "little")
        if size_bytes < 5 or at + size_bytes > len(batch):
            raise UpkeepRefused("the file is damaged: a document has not the length that it names")
        found.append(batch[at : at + size_bytes])
        at += size_bytes
    return found
