"""What sites have sent by themselves, in SQLite: small files, found by job and name.

Those who write run within the writer's transaction.
"""

import sqlite3


def put(
    connection: sqlite3.Connection, job_id: str, name: str, data: bytes, *, put_at: int, too_old: int
) -> None:
    """Keep the file, and forget those of all jobs that were last put before `too_old`."""
    connection.execute("DELETE FROM reports WHERE put_at < ?", (too_old,))
    connection.execute("INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?)", (job_id, name, put_at, data))


def read(connection: sqlite3.Connection, job_id: str, name: str) -> bytes | None:
    """The file; None if there is none."""
    row = connection.execute(
        "SELECT data FROM reports WHERE job_id = ? AND name = ?", (job_id, name)
    ).fetchone()
    return row[0] if row else None


def drop(connection: sqlite3.Connection, job_id: str, name: str | None) -> None:
    """Forget one file of a job, or all."""
    if name is None:
        connection.execute("DELETE FROM reports WHERE job_id = ?", (job_id,))
    else:
        connection.execute("DELETE FROM reports WHERE job_id = ? AND name = ?", (job_id, name))
