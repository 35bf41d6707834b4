"""How a task comes into SQLite: once, whoever asks for it how often.

Every function runs within the writer's transaction, so of two callers with one key the second sees the
task of the first.
"""

import sqlite3

from tesp_api.errors import KeyReused
from tesp_api.store.base import OnceKey, Task
from tesp_api.store.sqlite_rows import tags_of, to_bytes, to_json, to_micros
from tesp_api.store.sqlite_schema import GENERATION_TASKS
from tesp_api.tes.states import State


def create(connection: sqlite3.Connection, task: Task, once: OnceKey | None) -> str:
    """Write `task` down unless it is known, by its id or by the key; return the id of the stored task.

    Raises:
        KeyReused: the key belongs to a task that was created from another body.
    """
    if once is not None and (known := _id_under(connection, task.owner, once)):
        return known
    if _insert(connection, task):
        row = (task.id, to_micros(task.created_at), State.QUEUED)
        connection.execute("INSERT INTO history VALUES (?, 1, ?, ?, 0, 'created')", row)
        if once is not None:
            key = (task.owner, to_bytes(once.key), to_bytes(once.body_digest), task.id)
            connection.execute("INSERT INTO once_keys VALUES (?, ?, ?, ?)", key)
    return task.id


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
        "INSERT OR IGNORE INTO tasks (id, owner, name, state, created_at, generation, groups_json)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
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
