"""What only the SQLite store promises: its folder, its schema, and that kill -9 takes nothing away."""

import asyncio
import os
import signal
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tesp_api.errors import ClaimLost, DataFolderInUse, StoreError, StoreUnavailable
from tesp_api.store import sqlite_schema
from tesp_api.store.base import REPORTS_STAY, Changes, TaskQuery
from tesp_api.store.sqlite import DATABASE, SqliteTaskStore
from tesp_api.tes.states import State
from tests.factories import make_task

# Creates, claims and starts tasks without end; prints each id once its steps have returned.
WRITER = """
import asyncio, sys
from pathlib import Path
from tesp_api.store.base import Changes
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.tes.states import State
from tests.factories import make_task

async def write(store):
    while True:
        task = make_task(tags={"k": "v"})
        await store.create(task)
        print("created", task.id, flush=True)
        for claimed in await store.claim("writer", lease_s=60, new_limit=3):
            changes = Changes(attempt=1, log={"n": 1})
            await store.transition(
                claimed.id, State.INITIALIZING, claim=claimed.claim, reason="go", changes=changes
            )
            await store.append_log(claimed.claim, 1, 0, "stdout", 0, claimed.id.encode())
            print("started", claimed.id, flush=True)

async def main():
    store = SqliteTaskStore(Path(sys.argv[1]))
    await store.open()
    await asyncio.gather(*(write(store) for _ in range(8)))

asyncio.run(main())
"""


async def opened(folder: Path) -> SqliteTaskStore:
    store = SqliteTaskStore(folder)
    await store.open()
    return store


async def acknowledged_until_killed(folder: Path, lines: int) -> list[list[str]]:
    """What a writing process has said when it is killed after so many lines: (step, id) each."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(folder), stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    try:
        assert process.stdout
        said = [await process.stdout.readline() for _ in range(lines)]
    finally:
        process.send_signal(signal.SIGKILL)
    rest, _ = await process.communicate()
    said += rest.splitlines(keepends=True)
    # Killed in the middle of a line, the process has not said it.
    return [line.decode().split() for line in said if line.endswith(b"\n")]


@pytest.mark.parametrize("lines", [1, 50, 300])
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, lines: int) -> None:
    folder = tmp_path / "data"
    said = await acknowledged_until_killed(folder, lines)
    assert len(said) >= lines
    store = await opened(folder)
    for step, task_id in said:
        task = await store.get(task_id)
        past = [entry.state for entry in await store.history(task_id)]
        assert past[0] == State.QUEUED
        assert past == [State.QUEUED, State.INITIALIZING][: len(past)]
        assert task.state == past[-1]
        assert task.claim is None
        if step == "started":
            assert (task.state, task.attempt, list(task.logs)) == (State.INITIALIZING, 1, [{"n": 1}])
            part = await store.read_log(task_id, 1, 0, "stdout", offset=0, limit=99)
            assert part.data == task_id.encode()
    # Tasks are whole or not there: the list by tag and the list of all agree.
    tagged = await store.list_states(TaskQuery(tags=(("k", "v"),), page_size=100_000))
    assert tagged == await store.list_states(TaskQuery(page_size=100_000))
    assert {task_id for _, task_id in said} <= {task_id for task_id, _ in tagged.items}
    await store.aclose()
    with sqlite3.connect(folder / DATABASE) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


async def test_a_folder_belongs_to_one_store(tmp_path: Path) -> None:
    folder = tmp_path / "parent" / "data"
    first = await opened(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "lock").read_text().strip() == str(os.getpid())
    with pytest.raises(DataFolderInUse, match=str(folder)):
        await opened(folder)
    await first.check()
    await first.aclose()
    second = await opened(folder)
    await second.aclose()


async def test_opening_voids_all_claims(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    for _ in range(3):
        await store.create(make_task())
    before = await store.claim("dead", lease_s=3600, new_limit=10)
    await store.aclose()

    store = await opened(tmp_path)
    assert await store.renew("dead", lease_s=60) == {}
    for task in before:
        assert task.claim
        assert (await store.get(task.id)).claim is None
        with pytest.raises(ClaimLost):
            await store.update(task.id, Changes(), claim=task.claim)
    after = await store.claim("heir", lease_s=60, new_limit=10)
    assert [task.claim.epoch for task in after if task.claim] == [2, 2, 2]
    await store.aclose()


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    made = [make_task(name=f"žluť {number}") for number in range(5)]
    for task in made:
        await store.create(task)
    await store.aclose()
    store = await opened(tmp_path)
    assert (await store.list_tasks(TaskQuery())).items == made[::-1]
    await store.aclose()


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    await (await opened(tmp_path)).aclose()
    newer = len(sqlite_schema.MIGRATIONS) + 1
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute(f"PRAGMA user_version = {newer}")
    db.close()
    with pytest.raises(StoreError, match=f"has schema {newer}.*start the newer tesp"):
        await opened(tmp_path)
    with sqlite3.connect(tmp_path / DATABASE) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (newer,)
        db.execute(f"PRAGMA user_version = {newer - 1}")
    db.close()
    # The refusal has let go of the folder.
    await (await opened(tmp_path)).aclose()


async def test_a_database_takes_all_of_a_step_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    task = make_task()
    await store.create(task)
    await store.aclose()
    step = ("ALTER TABLE tasks ADD COLUMN mood TEXT", "UPDATE tasks SET mood = 'good'")
    broken = (*step, "INSERT INTO no_such_table VALUES (1)")

    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, broken))
    with pytest.raises(StoreError, match="no_such_table"):
        await opened(tmp_path)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS[:-1], step))
    store = await opened(tmp_path)
    assert await store.get(task.id) == task
    await store.aclose()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        assert db.execute("SELECT mood FROM tasks").fetchone() == ("good",)
        assert db.execute("PRAGMA user_version").fetchone() == (len(sqlite_schema.MIGRATIONS),)
    db.close()


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        await opened(tmp_path / "file")


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        await opened(tmp_path)


async def test_a_store_that_is_not_open_is_unavailable(tmp_path: Path) -> None:
    store = SqliteTaskStore(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="the store is"):
            await store.check()
        with pytest.raises(StoreUnavailable, match="the store is"):
            await store.get("any")
        await store.open()
        await store.aclose()


async def test_writes_are_flushed_before_they_return(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    assert store._writer
    settings = await store._writer.run(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    assert settings == ["wal", 2]
    await store.aclose()


async def test_a_report_that_is_to_stay_less_goes_earlier(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    store = SqliteTaskStore(tmp_path, clock=lambda: moment)
    await store.open()
    await store.put_report("probe", "answer.json", b"[]", stay=timedelta(minutes=15))
    moment += timedelta(minutes=15)
    await store.put_report("job", "result.json", b"{}")
    assert await store.read_report("probe", "answer.json") == b"[]"
    moment += timedelta(microseconds=1)
    await store.put_report("job", "result.json", b"{}")
    assert await store.read_report("probe", "answer.json") is None
    await store.aclose()


async def test_reports_that_nobody_dropped_go_after_a_while(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    store = SqliteTaskStore(tmp_path, clock=lambda: moment)
    await store.open()
    await store.put_report("old", "result.json", b"{}")
    moment += REPORTS_STAY
    await store.put_report("newer", "result.json", b"{}")
    assert await store.read_report("old", "result.json") == b"{}"
    moment += timedelta(microseconds=1)
    await store.put_report("newest", "result.json", b"{}")
    assert await store.read_report("old", "result.json") is None
    assert await store.read_report("newer", "result.json") == b"{}"
    await store.aclose()
