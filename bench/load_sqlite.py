"""Writes finished tasks straight into a SQLite store's file: the rows that the store itself would write.

`bench.api` reads some of them back through the store before it measures.
"""

from collections.abc import Iterator
from pathlib import Path

from bench.api_data import Stored, stored_task
from tesp_api.store.sqlite import DATABASE
from tesp_api.store.sqlite_rows import tags_of, to_bytes, to_json, to_micros
from tesp_api.store.sqlite_schema import GENERATION_TASKS, connect, migrate

_BATCH = 5000

_INSERTS = {
    "tasks": "INSERT INTO tasks (id, owner, name, state, created_at, attempt, live, claim_epoch, ended_at,"
    " generation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "requests": "INSERT INTO requests VALUES (?, ?, ?)",
    "tags": "INSERT INTO tags VALUES (?, ?, ?, ?)",
    "attempt_logs": "INSERT INTO attempt_logs VALUES (?, ?, ?)",
    "log_chunks": "INSERT INTO log_chunks VALUES (?, ?, ?, ?, ?, ?)",
    "history": "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)",
    "generations": "INSERT OR REPLACE INTO generations VALUES (?, ?, ?)",
}


def load(folder: Path, total: int) -> None:
    """Make a data folder's database with `total` finished tasks."""
    folder.mkdir(mode=0o700, parents=True)
    connection = connect(folder / DATABASE)
    migrate(connection)
    connection.execute("PRAGMA synchronous = OFF")
    for start in range(0, total, _BATCH):
        rows: dict[str, list[tuple[object, ...]]] = {table: [] for table in _INSERTS}
        for number in range(start, min(start + _BATCH, total)):
            for table, row in _rows(number, stored_task(number, total), total):
                rows[table].append(row)
        connection.execute("BEGIN")
        for table, insert in _INSERTS.items():
            connection.executemany(insert, rows[table])
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def warm_up(folder: Path) -> None:
    """Read the whole file once, so that the system's cache holds it and no disk is measured."""
    with (folder / DATABASE).open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def _rows(number: int, stored: Stored, total: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    task, ended_at = stored.task, to_micros(stored.history[-1].at)
    generation, place = divmod(number, GENERATION_TASKS)
    name = to_bytes(task.request["name"])
    created_at = to_micros(task.created_at)
    yield (
        "tasks",
        (task.id, task.owner, name, task.state, created_at, task.attempt, 0, 1, ended_at, generation),
    )
    yield "requests", (task.id, to_json(task.request), to_json(tuple(task.warnings)))
    for tag in tags_of(task.request, task.groups):
        yield "tags", (*tag, task.id, task.state)
    for attempt, log in enumerate(task.logs, start=1):
        yield "attempt_logs", (task.id, attempt, to_json(log))
    yield "log_chunks", (task.id, task.attempt, 0, "stdout", 0, stored.stdout)
    for line, entry in enumerate(stored.history, start=1):
        yield "history", (task.id, line, to_micros(entry.at), entry.state, entry.attempt, entry.reason)
    if place == 0:
        first_id = task.id if generation else ""
        yield "generations", (generation, first_id, min(GENERATION_TASKS, total - number))
