"""The writing thread: groups, failures within them and of them, cancellation, the end."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tesp_api.errors import StoreError, StoreUnavailable
from tesp_api.store.sqlite_schema import connect
from tesp_api.store.sqlite_writer import SqliteWriter


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite3"


@pytest.fixture
async def writer(database: Path) -> AsyncIterator[SqliteWriter]:
    made = SqliteWriter(connect(database))
    await made.run(lambda db: db.execute("CREATE TABLE things (name TEXT PRIMARY KEY)"))
    yield made
    await made.aclose()


def add(writer: SqliteWriter, name: str | None) -> asyncio.Task[None]:
    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO things VALUES (?)", (f"trace of {name}",))
        db.execute("INSERT INTO things VALUES (?)", (name,))

    return asyncio.create_task(writer.run(work))


def kept(database: Path) -> set[str]:
    connection = sqlite3.connect(database)
    names = {name for (name,) in connection.execute("SELECT name FROM things") if "trace" not in name}
    traces = connection.execute("SELECT count(*) FROM things WHERE name LIKE 'trace%'").fetchone()[0]
    connection.close()
    assert traces == len(names), "a write is done wholly or not at all"
    return names


@asynccontextmanager
async def held_up(writer: SqliteWriter) -> AsyncIterator[None]:
    """Keep the writer busy, so that what is written within ends up in one group."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait()

    waiting = asyncio.create_task(writer.run(wait))
    await asyncio.to_thread(begun.wait)
    try:
        yield
        # One turn of the loop: every task created within has handed its write over.
        await asyncio.sleep(0)
    finally:
        go_on.set()
        await waiting


async def test_a_failing_write_does_not_harm_its_neighbours(writer: SqliteWriter, database: Path) -> None:
    def refuse(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO things VALUES ('refused')")
        raise StoreError("no")

    async with held_up(writer):
        before, same = add(writer, "before"), add(writer, "before")
        refused = asyncio.create_task(writer.run(refuse))
        after = add(writer, "after")
    answers = await asyncio.gather(before, same, refused, after, return_exceptions=True)
    assert answers[0] is None
    assert isinstance(answers[1], StoreError)
    assert "UNIQUE" in str(answers[1])
    assert str(answers[2]) == "no"
    assert answers[3] is None
    assert kept(database) == {"before", "after"}


async def test_many_writes_share_a_transaction(writer: SqliteWriter, database: Path) -> None:
    commits = []

    def count(statement: str) -> None:
        if statement == "COMMIT":
            commits.append(statement)

    await writer.run(lambda db: db.set_trace_callback(count))
    async with held_up(writer):
        writes = [add(writer, str(number)) for number in range(100)]
    await asyncio.gather(*writes)
    assert len(kept(database)) == 100
    # Setting the trace, the write that held the others up, the hundred.
    assert len(commits) == 3


async def test_when_the_disk_is_full_the_group_fails_and_the_next_one_may_succeed(
    writer: SqliteWriter, database: Path
) -> None:
    def fill(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE large (data BLOB)")
        db.execute("PRAGMA max_page_count = 10")
        db.execute("INSERT INTO large VALUES (zeroblob(1000000))")

    async with held_up(writer):
        neighbour, full = add(writer, "neighbour"), asyncio.create_task(writer.run(fill))
    answers = await asyncio.gather(neighbour, full, return_exceptions=True)
    assert isinstance(answers[1], StoreUnavailable)
    # SQLite may take the whole transaction back; what matters is that the answer is true.
    assert kept(database) == ({"neighbour"} if answers[0] is None else set())
    await writer.run(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
    await add(writer, "later")
    assert "later" in kept(database)


async def test_when_the_commit_fails_nobody_is_told_that_it_worked(
    writer: SqliteWriter, database: Path
) -> None:
    def break_a_deferred_constraint(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")
        db.execute("INSERT INTO children VALUES ('no such parent')")

    await writer.run(lambda db: db.execute("CREATE TABLE children (of REFERENCES things (name))"))
    await asyncio.to_thread(writer._connection.execute, "PRAGMA foreign_keys = ON")
    async with held_up(writer):
        neighbour = add(writer, "neighbour")
        breaking = asyncio.create_task(writer.run(break_a_deferred_constraint))
    answers = await asyncio.gather(neighbour, breaking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreError, StoreError]
    assert kept(database) == set()
    await add(writer, "later")
    assert kept(database) == {"later"}


async def test_another_programs_lock_means_unavailable(writer: SqliteWriter, database: Path) -> None:
    await writer.run(lambda db: None)
    await asyncio.to_thread(writer._connection.execute, "PRAGMA busy_timeout = 0")
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await add(writer, "locked out")
    other.execute("ROLLBACK")
    other.close()
    await add(writer, "later")
    assert kept(database) == {"later"}


async def test_a_write_that_was_cancelled_before_its_turn_is_not_done(
    writer: SqliteWriter, database: Path
) -> None:
    async with held_up(writer):
        cancelled, other = add(writer, "cancelled"), add(writer, "other")
        await asyncio.sleep(0)
        cancelled.cancel()
    await other
    assert kept(database) == {"other"}


async def test_closing_finishes_what_waits_and_refuses_what_comes(
    writer: SqliteWriter, database: Path
) -> None:
    async with held_up(writer):
        writes = [add(writer, str(number)) for number in range(10)]
    await writer.aclose()
    await asyncio.gather(*writes)
    assert len(kept(database)) == 10
    with pytest.raises(StoreUnavailable, match="closed"):
        await add(writer, "late")
    await writer.aclose()
