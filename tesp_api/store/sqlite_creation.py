"""How a task comes into SQLite: once, whoever asks for it how often.

Every function runs within the writer's transaction, so of two callers with one key the second sees the
task of the first.
"""

import sqlite3
from collections.abc import Sequence

from tesp_api.errors import KeyReused, LimitReached
from tesp_api.store.base import OnceKey, Task
from tesp_api.store.outbox import Watch
from tesp_api.store.sqlite_notices import Change, begin
from tesp_api.store.sqlite_rows import tags_of, to_bytes, to_json, to_micros
from tesp_api.store.sqlite_schema import GENERATION_TASKS
from tesp_api.store.sqlite_usage import read_usage
from tesp_api.store.usage import Cap, check_caps
from tesp_api.tes.states import State


def create(
    connection: sqlite3.Connection,
    task: Task,
    once: OnceKey | None,
    caps: Sequence[Cap] = (),
    watch: Watch | None = None,
) -> str | LimitReached:
    """Write `task` down unless it is known, by its id or by the key; return the id of the stored task.

    A limit that leaves no room is returned, not raised: what raises costs the others of the transaction.

    Raises:
        KeyReused: the key belongs to a task that was created from another body.
    """
    if once is not None and (known := _id_under(connection, task.owner, once)):
        return known
    if caps and (full := _full(connection, task, caps)):
        return full
    if _insert(connection, task):
        row = (task.id, to_micros(task.created_at), State.QUEUED)
        connection.execute("INSERT INTO history VALUES (?, 1, ?, ?, 0, 'created')", row)
        if watch is not None:
            begin(connection, watch, Change("task", task.id, State.QUEUED, None, 0, row[1]))
        if once is not None:
            key = (task.owner, to_bytes(once.key), to_bytes(once.body_digest), task.id)
            connection.execute("INSERT INTO once_keys VALUES (?, ?, ?, ?)", key)
    return task.id


def _full(connection: sqlite3.Connection, task: Task, caps: Sequence[Cap]) -> LimitReached | None:
    """What leaves no room for the task, unless it is there already."""
    full = check_caps(caps, read_usage(connection, task.owner), read_usage(connection, None))
    if full and connection.execute("SELECT 1 FROM tasks WHERE id = ?", (task.id,)).fetchone():
        return None
    return full


def _id_under(connection: sqlite3.Connection, owner: str, once: OnceKey) -> str | None:
    row = connection.execute(
        "SELECT body_digest, task_id FROM once_keys WHERE owner = ? AND key = ?", (owner, to_bytes(once.key))
    ).fetchone()
    if row is None:
        return None
    digest, task_id = row
    if digest != to_bytes(once.body_digest):
        raise KeyReused(once.key)
    return str(task_id)


def _insert(connection: sqlite3.Connection, task: Task) -> bool:
    """Write down a new, QUEUED task; return False and change nothing if its id is known."""
    name = to_bytes(task.request.get("name") or "")
    generation = _generation(connection, task.id)
    groups = to_json(tuple(task.groups))
    row = (task.id, task.owner, name, State.QUEUED, to_micros(task.created_at), generation, groups)
    inserted = connection.execute(
        "INSERT INTO tasks (id, owner, name, state, created_at, generation, groups_json)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        row,
    )
    if inserted.rowcount == 0:
        return False
    connection.execute("UPDATE generations SET tasks = tasks + 1 WHERE number = ?", (generation,))
    connection.execute(
        "INSERT INTO requests VALUES (?, ?, ?)",
        (task.id, to_json(task.request), to_json(tuple(task.warnings))),
    )
    if task.sealed:
        connection.execute("INSERT INTO sealed_logins VALUES (?, ?)", (task.id, task.sealed))
    for tag in tags_of(task.request, task.groups):
        connection.execute("INSERT INTO tags VALUES (?, ?, ?, ?)", (*tag, task.id, State.QUEUED))
    return True


def _generation(connection: sqlite3.Connection, task_id: str) -> int:
    """The generation to which the id belongs; where the newest is full, a newer task begins the next one."""
    number, tasks = connection.execute(
        "SELECT number, tasks FROM generations WHERE first_id <= ? ORDER BY first_id DESC LIMIT 1", (task_id,)
    ).fetchone()
    if tasks < GENERATION_TASKS or _is_older(connection, task_id):
        return int(number)
    begun = connection.execute("INSERT INTO generations (first_id, tasks) VALUES (?, 0)", (task_id,))
    return int(begun.lastrowid or 0)


def _is_older(connection: sqlite3.Connection, task_id: str) -> bool:
    """A newer task, or this one, is stored."""
    newer = "SELECT 1 FROM tasks WHERE id >= ? LIMIT 1"
    return connection.execute(newer, (task_id,)).fetchone() is not None
