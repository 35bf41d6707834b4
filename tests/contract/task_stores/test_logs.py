"""Executors' output in a store: growing chunks, gaps, parts."""

import asyncio

import pytest

from tesp_api.store.base import Claim, LogPart, Stream, TaskStore
from tests.contract.task_stores.conftest import Driver
from tests.factories import make_task

NOT_TEXT = bytes(range(256))


class Log:
    """The standard output of a task's first executor."""

    def __init__(self, store: TaskStore, claim: Claim) -> None:
        self.store, self.claim = store, claim

    async def write(self, offset: int, data: bytes) -> None:
        await self.store.append_log(self.claim, 1, 0, "stdout", offset, data)

    async def drop(self, start: int, end: int) -> None:
        await self.store.drop_log(self.claim, 1, 0, "stdout", start, end)

    async def read(self, offset: int, limit: int = 1_000_000) -> tuple[int, bytes]:
        part = await self.store.read_log(self.claim.task_id, 1, 0, "stdout", offset=offset, limit=limit)
        return part.offset, part.data

    async def size(self) -> int:
        return await self.store.log_size(self.claim.task_id, 1, 0, "stdout")


@pytest.fixture
async def log(store: TaskStore, runner: Driver) -> Log:
    return Log(store, await runner.take(make_task()))


async def test_a_log_that_does_not_exist_is_empty(store: TaskStore, log: Log) -> None:
    assert await log.size() == 0
    for offset in (0, 5, -5):
        assert (await log.read(offset))[1] == b""
    assert await store.read_log("no-such", 1, 0, "stdout", offset=0, limit=9) == LogPart(0, b"")
    assert await store.log_size("no-such", 1, 0, "stdout") == 0


async def test_chunks_are_read_as_one(log: Log) -> None:
    await asyncio.gather(log.write(5, b"world"), log.write(0, b"hello"), log.write(10, NOT_TEXT))
    assert await log.size() == 266
    assert await log.read(0) == (0, b"helloworld" + NOT_TEXT)
    assert await log.read(0, limit=7) == (0, b"hellowo")
    assert await log.read(3, limit=4) == (3, b"lowo")
    assert await log.read(5, limit=5) == (5, b"world")
    assert await log.read(265) == (265, b"\xff")
    assert await log.read(3, limit=0) == (3, b"")


async def test_at_and_beyond_the_end_there_is_nothing_and_the_offset_stays(log: Log) -> None:
    await log.write(0, b"hello")
    assert await log.read(5) == (5, b"")
    assert await log.read(50) == (50, b"")
    assert await log.read(2**80) == (2**80, b"")
    assert await log.read(-(2**80), limit=2**80) == (0, b"hello")
    assert await log.read(0, limit=-1) == (0, b"")


async def test_a_negative_offset_counts_from_the_end(log: Log) -> None:
    await log.write(0, b"hello")
    await log.write(5, b"world")
    assert await log.read(-3) == (7, b"rld")
    assert await log.read(-7, limit=3) == (3, b"low")
    assert await log.read(-10) == (0, b"helloworld")
    assert await log.read(-1000) == (0, b"helloworld")


async def test_a_growing_chunk_is_written_again_and_the_longer_one_wins(log: Log) -> None:
    await log.write(0, b"start ")
    await log.write(6, b"gr")
    await log.write(6, b"growing")
    await log.write(6, b"grow")
    await log.write(6, b"growing")
    await log.write(6, b"")
    assert await log.read(0) == (0, b"start growing")
    assert await log.size() == 13


async def test_a_dropped_middle_is_skipped(log: Log) -> None:
    await log.write(0, b"head")
    await log.write(100, b"tail")
    await log.write(104, b"end")
    assert await log.size() == 107
    assert await log.read(0) == (0, b"head"), "a part never spans a gap"
    assert await log.read(2) == (2, b"ad")
    assert await log.read(4) == (100, b"tailend")
    assert await log.read(50, limit=2) == (100, b"ta")
    assert await log.read(-20) == (100, b"tailend")
    assert await log.read(107) == (107, b"")


async def test_dropping_forgets_the_chunks_wholly_within_and_keeps_the_size(log: Log) -> None:
    for offset in range(0, 50, 10):
        await log.write(offset, b"%010d" % offset)
    await log.drop(5, 35)
    assert await log.read(0) == (0, b"0000000000")
    assert await log.read(10) == (30, b"00000000300000000040")
    await log.drop(10, 20)
    await log.drop(30, 30)
    assert await log.read(10) == (30, b"00000000300000000040")
    assert await log.size() == 50


async def test_a_log_whose_end_was_dropped_keeps_its_size_and_goes_on_there(log: Log) -> None:
    await log.write(0, b"head")
    await log.write(4, b"tail")
    await log.drop(4, 8)
    await log.drop(0, 100)
    assert await log.size() == 8
    assert await log.read(-8) == (0, b"")
    await log.write(8, b"more")
    assert await log.read(0) == (8, b"more")
    assert await log.size() == 12


async def test_an_empty_chunk_is_no_obstacle(log: Log) -> None:
    await log.write(0, b"")
    assert await log.read(0) == (0, b"")
    await log.write(10, b"")
    await log.write(20, b"late")
    assert await log.read(0) == (20, b"late")


async def test_a_dropped_beginning_is_skipped(log: Log) -> None:
    await log.write(10, b"late")
    assert await log.read(0) == (10, b"late")
    assert await log.size() == 14


async def test_every_stream_of_every_executor_and_attempt_is_a_log_of_its_own(
    store: TaskStore, log: Log
) -> None:
    claim = log.claim
    places: list[tuple[int, int, Stream]] = [
        (attempt, executor, stream)
        for attempt in (1, 2)
        for executor in (0, 1)
        for stream in ("stdout", "stderr", "events")
    ]
    for place in places:
        await store.append_log(claim, *place, 0, repr(place).encode())
    for place in places:
        part = await store.read_log(claim.task_id, *place, offset=0, limit=100)
        assert part.data == repr(place).encode()


async def test_a_large_chunk_is_read_in_pieces(log: Log) -> None:
    data = NOT_TEXT * 4096
    await log.write(0, data)
    read, at = b"", 0
    while (part := await log.read(at, limit=100_003))[1]:
        assert part[0] == at
        read, at = read + part[1], at + len(part[1])
    assert read == data
