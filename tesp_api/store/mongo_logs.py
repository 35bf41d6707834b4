"""Executors' output in MongoDB: chunks of bytes, each a document, found by where they begin.

The id of a chunk is `TASK/ATTEMPT/EXECUTOR/STREAM/OFFSET` with numbers of fixed width: a log is a range of
ids, in order. `size` is the length of `data`, `end` the offset of what comes after it.

**Fencing.** To look whether a claim is still the task's and to write a chunk are two steps, for they touch
two documents: a writer that loses its claim between them may still write that one chunk. The bytes are those
of the attempt's job, the same for whoever copies them; the chunk carries the epoch of its writer, and
replaces nothing of a later epoch. So at worst a chunk is there that was dropped, or one of a task that was
deleted: for that a writer must stand still from takeover to deletion.
"""

from dataclasses import dataclass
from typing import Any

from bson.binary import Binary
from pymongo.errors import DuplicateKeyError

from tesp_api.store.base import Claim, LogPart, Stream
from tesp_api.store.mongo_documents import Collection, Document

_OFFSET_DIGITS = 15
_OFFSET_MAX = 10**_OFFSET_DIGITS - 1
_CHUNKS_PER_ANSWER = 16


@dataclass(frozen=True, slots=True)
class LogKey:
    """One stream of one executor of one attempt."""

    task_id: str
    attempt: int
    executor: int
    stream: Stream

    def at(self, offset: int) -> str:
        """The id of the chunk that begins at `offset`."""
        place = min(max(offset, 0), _OFFSET_MAX)
        return (
            f"{self.task_id}/{self.attempt:06d}/{self.executor:06d}/{self.stream}/{place:0{_OFFSET_DIGITS}d}"
        )

    def between(self, start: int, end: int) -> Document:
        """The filter for the chunks that begin at `start` or later, and before `end`."""
        return {"_id": {"$gte": self.at(start), "$lt": self.at(end)}}


def of_task(task_id: str) -> Document:
    """The filter for all chunks of a task."""
    return {"_id": {"$gte": f"{task_id}/", "$lt": f"{task_id}0"}}  # "0" comes next after "/"


async def write_chunk(chunks: Collection, key: LogKey, offset: int, data: bytes, claim: Claim) -> None:
    """Keep `data` as the chunk at `offset`, unless a longer one (or the same) is there."""
    await _write(chunks, key, offset, data, claim.epoch)


async def drop_chunks(chunks: Collection, key: LogKey, start: int, end: int, claim: Claim) -> None:
    """Forget the chunks that lie wholly in `start` to `end`; an empty one keeps the size of the log."""
    size = await read_size(chunks, key)
    if end >= size > start:
        await _write(chunks, key, size, b"", claim.epoch)  # first: the log is never seen shorter
    await chunks.delete_many(key.between(start, size) | {"end": {"$lte": end}})


async def read_size(chunks: Collection, key: LogKey) -> int:
    """Where the last chunk ends; 0 if there is none."""
    last = await _last(chunks, key, _OFFSET_MAX, {"end": 1})
    return 0 if last is None else int(last["end"])


async def read_part(chunks: Collection, key: LogKey, offset: int, limit: int) -> LogPart:
    """Up to `limit` bytes from `offset` on, ending before the next gap; see `TaskStore.read_log`."""
    if offset < 0:
        offset = max(0, await read_size(chunks, key) + offset)
    if limit <= 0:
        return LogPart(offset, b"")
    holder = await _last(chunks, key, offset, {"_id": 1})
    first = offset if holder is None else _offset(holder)
    cursor = chunks.find(key.between(first, _OFFSET_MAX) | {"size": {"$gt": 0}})
    pieces: list[bytes] = []
    start = at = offset
    async with cursor.sort("_id", 1).batch_size(_CHUNKS_PER_ANSWER) as found:
        async for chunk in found:
            begin = _offset(chunk)
            if chunk["end"] <= at:
                continue
            if begin > at and pieces:
                break
            if begin > at:
                start = at = begin
            pieces.append(bytes(chunk["data"][at - begin : at - begin + limit]))
            at += len(pieces[-1])
            limit -= len(pieces[-1])
            if limit <= 0:
                break
    return LogPart(start, b"".join(pieces))


async def _write(chunks: Collection, key: LogKey, offset: int, data: bytes, epoch: int) -> None:
    shorter = {"_id": key.at(offset), "size": {"$lt": len(data)}, "epoch": {"$lte": epoch}}
    content = {"data": Binary(data), "size": len(data), "end": offset + len(data), "epoch": epoch}
    try:
        await chunks.update_one(shorter, {"$set": content}, upsert=True)
    except DuplicateKeyError:
        # It is there, and either is no shorter or was made in this moment: the second try tells.
        await chunks.update_one(shorter, {"$set": content})


async def _last(chunks: Collection, key: LogKey, offset: int, projection: Any) -> Document | None:
    """The last chunk that begins at `offset` or before."""
    where = {"_id": {"$gte": key.at(0), "$lte": key.at(offset)}}
    return await chunks.find_one(where, projection, sort=[("_id", -1)])


def _offset(chunk: Document) -> int:
    return int(chunk["_id"][-_OFFSET_DIGITS:])
