"""Databases that older versions made, opened by this one. Their tables are written out here, as they were."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tesp_api.store.base import HistoryEntry, OnceKey, TaskQuery
from tesp_api.store.sqlite import DATABASE, SqliteTaskStore
from tesp_api.store.sqlite_schema import GENERATION_TASKS, MIGRATIONS, migrate
from tesp_api.store.usage import Usage
from tesp_api.tes.states import State
from tests.factories import make_task

S = State

VERSION_1 = """
CREATE TABLE tasks (id TEXT PRIMARY KEY, owner TEXT NOT NULL, name BLOB NOT NULL, state TEXT NOT NULL,
    created_at INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, live INTEGER NOT NULL DEFAULT 1,
    destination TEXT, job_id TEXT, claim_owner TEXT, claim_epoch INTEGER NOT NULL DEFAULT 0,
    claim_expires_at INTEGER) WITHOUT ROWID;
CREATE INDEX tasks_by_state ON tasks (state, id);
CREATE INDEX tasks_by_owner ON tasks (owner, id);
CREATE INDEX tasks_by_owner_state ON tasks (owner, state, id);
CREATE INDEX tasks_by_name ON tasks (name, id);
CREATE INDEX tasks_waiting ON tasks (id)
    WHERE live = 1 AND claim_owner IS NULL AND job_id IS NULL AND state = 'QUEUED';
CREATE INDEX tasks_adoptable ON tasks (id)
    WHERE live = 1 AND claim_owner IS NULL AND (job_id IS NOT NULL OR state <> 'QUEUED');
CREATE INDEX tasks_by_claim ON tasks (claim_owner) WHERE claim_owner IS NOT NULL;
CREATE INDEX tasks_by_lease ON tasks (claim_expires_at) WHERE claim_owner IS NOT NULL;
CREATE TABLE tags (key BLOB NOT NULL, value BLOB NOT NULL, task_id TEXT NOT NULL,
    PRIMARY KEY (key, value, task_id)) WITHOUT ROWID;
CREATE INDEX tags_by_key ON tags (key, task_id);
CREATE TABLE requests (task_id TEXT PRIMARY KEY, document TEXT NOT NULL, warnings TEXT NOT NULL);
CREATE TABLE attempt_logs (task_id TEXT NOT NULL, attempt INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (task_id, attempt));
CREATE TABLE log_chunks (task_id TEXT NOT NULL, attempt INTEGER NOT NULL, executor INTEGER NOT NULL,
    stream TEXT NOT NULL, offset INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (task_id, attempt, executor, stream, offset));
CREATE TABLE history (task_id TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL,
    state TEXT NOT NULL, attempt INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (task_id, number)) WITHOUT ROWID;
CREATE TABLE checks (id INTEGER PRIMARY KEY, checked_at INTEGER NOT NULL);
PRAGMA user_version = 1;
"""

TASKS = 5000
BEGAN_AT = 1_700_000_000_000_000
ENDED, CANCELED, RUNNING = 0, 1, 2


def write_version_1(folder: Path) -> list[str]:
    """A database of version 1: 5,000 queued tasks, but for the first three. Returns the ids, oldest first."""
    db = sqlite3.connect(folder / DATABASE)
    db.executescript(VERSION_1)
    ids = [make_task().id for _ in range(TASKS)]
    states = {ENDED: "COMPLETE", CANCELED: "CANCELED", RUNNING: "RUNNING"}
    for number, task_id in enumerate(ids):
        at, state = BEGAN_AT + number * 1_000_000, states.get(number, "QUEUED")
        tags = f'{{"n":"{number}","all":""}}'
        db.execute(
            "INSERT INTO tasks VALUES (?, 'alice', ?, ?, ?, 1, ?, NULL, NULL, NULL, 1, NULL)",
            (task_id, b"name-%d" % number, state, at, state not in ("COMPLETE", "CANCELED")),
        )
        document = f'{{"name":"name-{number}","executors":[],"tags":{tags}}}'
        db.execute("INSERT INTO requests VALUES (?, ?, '[\"careful\"]')", (task_id, document))
        db.execute("INSERT INTO tags VALUES (?, ?, ?)", (b"n", b"%d" % number, task_id))
        db.execute("INSERT INTO tags VALUES (?, ?, ?)", (b"all", b"", task_id))
        db.execute("INSERT INTO history VALUES (?, 1, ?, 'QUEUED', 0, 'created')", (task_id, at))
        if state != "QUEUED":
            db.execute("INSERT INTO history VALUES (?, 2, ?, ?, 1, 'so')", (task_id, at + 10, state))
            db.execute("INSERT INTO history VALUES (?, 3, ?, ?, 1, 'more')", (task_id, at + 20, state))
            db.execute("INSERT INTO attempt_logs VALUES (?, 1, '{\"n\":1}')", (task_id,))
            db.execute("INSERT INTO log_chunks VALUES (?, 1, 0, 'stdout', 0, x'6869')", (task_id,))
    db.commit()
    db.close()
    return ids


async def opened(folder: Path) -> SqliteTaskStore:
    store = SqliteTaskStore(folder)
    await store.open()
    return store


async def test_what_version_1_wrote_is_all_there(tmp_path: Path) -> None:
    ids = write_version_1(tmp_path)
    store = await opened(tmp_path)
    task = await store.get(ids[ENDED])
    assert (task.owner, task.state, task.attempt, task.live) == ("alice", S.COMPLETE, 1, False)
    assert task.request == {"name": "name-0", "executors": [], "tags": {"n": "0", "all": ""}}
    assert (list(task.logs), task.warnings) == ([{"n": 1}], ("careful",))
    began_at = datetime.fromtimestamp(BEGAN_AT / 1_000_000, UTC)
    assert task.created_at == began_at
    assert await store.history(task.id) == [
        HistoryEntry(began_at, S.QUEUED, 0, "created"),
        HistoryEntry(began_at + timedelta(microseconds=10), S.COMPLETE, 1, "so"),
        HistoryEntry(began_at + timedelta(microseconds=20), S.COMPLETE, 1, "more"),
    ]
    assert (await store.read_log(task.id, 1, 0, "stdout", offset=0, limit=9)).data == b"hi"
    await store.aclose()


async def test_lists_find_what_version_1_wrote(tmp_path: Path) -> None:
    ids = write_version_1(tmp_path)
    store = await opened(tmp_path)
    size = TASKS + 1
    for query in (
        TaskQuery(page_size=size),
        TaskQuery(tags=(("all", ""),), page_size=size),
        TaskQuery(name_prefix="name-", page_size=size),
        TaskQuery(owner="alice", page_size=size),
    ):
        page = await store.list_states(query)
        assert [task_id for task_id, _ in page.items] == ids[::-1]
        assert [state for _, state in page.items[-3:]] == [S.RUNNING, S.CANCELED, S.COMPLETE]
    found = await store.list_states(TaskQuery(tags=(("n", "2"),), states=frozenset({S.RUNNING})))
    assert found.items == [(ids[RUNNING], S.RUNNING)]
    # New tasks go on where the old ones ended.
    newer = make_task(name="name-new")
    await store.create(newer)
    page = await store.list_states(TaskQuery(name_prefix="name-", page_size=2))
    assert [task_id for task_id, _ in page.items] == [newer.id, ids[-1]]
    await store.aclose()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        sizes = db.execute("SELECT tasks FROM generations ORDER BY first_id").fetchall()
        assert sizes == [(GENERATION_TASKS,), (TASKS + 1 - GENERATION_TASKS,)]
    db.close()


async def test_what_ended_under_version_1_can_be_purged(tmp_path: Path) -> None:
    ids = write_version_1(tmp_path)
    store = await opened(tmp_path)
    ended_at = datetime.fromtimestamp(BEGAN_AT / 1_000_000, UTC) + timedelta(microseconds=10)
    assert await store.purge(ended_at, limit=10) == 0
    assert await store.purge(ended_at + timedelta(microseconds=1), limit=10) == 1
    await store.delete(ids[CANCELED])
    assert await store.create(make_task(), once=OnceKey("k", "d"))
    assert len((await store.list_states(TaskQuery(page_size=2 * TASKS))).items) == TASKS - 1
    await store.aclose()


async def test_what_version_1_wrote_is_counted(tmp_path: Path) -> None:
    ids = write_version_1(tmp_path)
    store = await opened(tmp_path)
    assert await store.usage("alice") == await store.usage(None) == Usage(TASKS - 2, TASKS, 6)
    await store.delete(ids[ENDED])
    await store.create(make_task(owner="bob"))
    assert await store.usage("alice") == Usage(TASKS - 2, TASKS - 1, 4)
    assert await store.usage(None) == Usage(TASKS - 1, TASKS, 4)
    await store.aclose()


async def test_the_upgrade_ends_where_a_new_database_begins(tmp_path: Path) -> None:
    write_version_1(tmp_path)
    await (await opened(tmp_path)).aclose()
    upgraded, new = sqlite3.connect(tmp_path / DATABASE), sqlite3.connect(":memory:", isolation_level=None)
    migrate(new)
    columns = "SELECT m.name, c.name, c.type, c.pk FROM sqlite_schema AS m, pragma_table_info(m.name) AS c"
    indexes = "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'"
    triggers = "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger'"
    for question in (columns, indexes, triggers):
        assert sorted(upgraded.execute(question)) == sorted(new.execute(question))
    assert upgraded.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert upgraded.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    upgraded.close()
    new.close()


async def test_tasks_of_version_2_have_nothing_sealed(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    for statement in (*MIGRATIONS[0], *MIGRATIONS[1], "PRAGMA user_version = 2"):
        db.execute(statement)
    old = make_task().id
    db.execute(
        "INSERT INTO tasks (id, owner, name, state, created_at) VALUES (?, '', x'', 'QUEUED', 1)", (old,)
    )
    db.execute("INSERT INTO requests VALUES (?, '{\"executors\":[]}', '[]')", (old,))
    db.close()
    store = await opened(tmp_path)
    new = make_task(sealed="logins")
    await store.create(new)
    assert [task.sealed for task in (await store.list_tasks(TaskQuery())).items] == ["logins", ""]
    await store.aclose()
