"""How tasks leave SQLite, with everything that belongs to them.

Every function runs within the writer's transaction.
"""

import sqlite3

from tesp_api.errors import TaskInUse, TaskNotFound, TaskNotOver
from tesp_api.store.sqlite_notices import forget
from tesp_api.store.sqlite_rows import read_tags
from tesp_api.store.sqlite_schema import RETIRED
from tesp_api.tes.states import FINAL, State

_USER = (
    "SELECT run_id FROM run_steps INDEXED BY run_steps_by_task WHERE task_id = {task_id} AND run_id IN"
    f" (SELECT id FROM runs INDEXED BY runs_to_do WHERE ended_at IS NULL AND state <> '{State.QUEUED}')"
)
"""The runs that go on and have this task as a step; one that is QUEUED has no steps yet."""

_OLDEST_ENDS = (
    f"SELECT id FROM tasks INDEXED BY tasks_retired WHERE {RETIRED} AND ended_at < ?"
    f" AND NOT EXISTS ({_USER.format(task_id='tasks.id')}) ORDER BY ended_at LIMIT ?"
)


def delete(connection: sqlite3.Connection, task_id: str) -> None:
    """Remove a task that is over.

    Raises:
        TaskNotFound: there is none with this id.
        TaskNotOver: it has not ended, or is still live.
        TaskInUse: it is a step of a run that has not ended.
    """
    row = connection.execute("SELECT state, live FROM tasks WHERE id = ?", (task_id,)).fetchone()
    if row is None:
        raise TaskNotFound(task_id)
    state, live = State(row[0]), row[1]
    if live or state not in FINAL:
        raise TaskNotOver(task_id, state)
    user = connection.execute(_USER.format(task_id="?"), (task_id,)).fetchone()
    if user is not None:
        raise TaskInUse(task_id, user[0])
    _remove(connection, task_id)


def purge(connection: sqlite3.Connection, ended_before: int, limit: int) -> int:
    """Remove the up to `limit` retired tasks that ended first, before that time; return how many.

    Steps of runs that have not ended stay.
    """
    ids = connection.execute(_OLDEST_ENDS, (ended_before, max(0, limit))).fetchall()
    for (task_id,) in ids:
        _remove(connection, task_id)
    return len(ids)


def _remove(connection: sqlite3.Connection, task_id: str) -> None:
    connection.executemany(
        "DELETE FROM tags WHERE key = ? AND value = ? AND task_id = ?",
        [(key, value, task_id) for key, value in read_tags(connection, task_id)],
    )
    for table in ("requests", "sealed_logins", "attempt_logs", "log_chunks", "history", "once_keys"):
        connection.execute(f"DELETE FROM {table} WHERE task_id = ?", (task_id,))
    forget(connection, task_id)
    _leave_generation(connection, task_id)
    connection.execute("DELETE FROM tasks WHERE id = ?", (task_id,))


def _leave_generation(connection: sqlite3.Connection, task_id: str) -> None:
    """Count the task out; an empty generation goes, but for the one before all, so that every id has one."""
    row = connection.execute("SELECT generation FROM tasks WHERE id = ?", (task_id,)).fetchone()
    connection.execute("UPDATE generations SET tasks = tasks - 1 WHERE number = ?", row)
    connection.execute("DELETE FROM generations WHERE number = ? AND tasks = 0 AND first_id <> ''", row)
