"""Executors' output in SQLite: chunks of bytes, found by where they begin."""

import sqlite3
from dataclasses import dataclass

from tesp_api.store.base import LogPart, Stream


@dataclass(frozen=True, slots=True)
class LogKey:
    """One stream of one executor of one attempt."""

    task_id: str
    attempt: int
    executor: int
    stream: Stream

    def parameters(self) -> tuple[str, int, int, str]:
        return self.task_id, self.attempt, self.executor, self.stream


_SAME_LOG = "task_id = ? AND attempt = ? AND executor = ? AND stream = ?"


def write_chunk(connection: sqlite3.Connection, key: LogKey, offset: int, data: bytes) -> None:
    """Keep `data` as the chunk at `offset`, unless a longer one (or the same) is there."""
    connection.execute(
        "INSERT INTO log_chunks VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (task_id, attempt, executor, stream, offset) DO UPDATE SET data = excluded.data"
        " WHERE length(excluded.data) > length(log_chunks.data)",
        (*key.parameters(), offset, data),
    )


def drop_chunks(connection: sqlite3.Connection, key: LogKey, start: int, end: int) -> None:
    """Forget the chunks that lie wholly in `start` to `end`; an empty one keeps the size of the log."""
    size = read_size(connection, key)
    connection.execute(
        f"DELETE FROM log_chunks WHERE {_SAME_LOG} AND offset >= ? AND offset + length(data) <= ?",
        (*key.parameters(), start, end),
    )
    if read_size(connection, key) < size:
        write_chunk(connection, key, size, b"")


def read_size(connection: sqlite3.Connection, key: LogKey) -> int:
    """Where the last chunk ends; 0 if there is none."""
    row = connection.execute(
        f"SELECT offset + length(data) FROM log_chunks WHERE {_SAME_LOG} ORDER BY offset DESC LIMIT 1",
        key.parameters(),
    ).fetchone()
    return row[0] if row else 0


def read_part(connection: sqlite3.Connection, key: LogKey, offset: int, limit: int) -> LogPart:
    """Up to `limit` bytes from `offset` on, ending before the next gap; see `TaskStore.read_log`."""
    size = read_size(connection, key)
    if offset < 0:
        offset = max(0, size + offset)
    if offset >= size:
        return LogPart(offset, b"")
    limit = min(limit, size)
    pieces: list[bytes] = []
    start = at = _first_kept(connection, key, offset)
    while limit > 0 and (piece := _read_piece(connection, key, at, limit)):
        pieces.append(piece)
        at += len(piece)
        limit -= len(piece)
    return LogPart(start, b"".join(pieces))


def _first_kept(connection: sqlite3.Connection, key: LogKey, offset: int) -> int:
    """`offset`, or the start of the next chunk where `offset` lies in a gap."""
    if _read_piece(connection, key, offset, 1):
        return offset
    row = connection.execute(
        f"SELECT min(offset) FROM log_chunks WHERE {_SAME_LOG} AND offset > ? AND data <> x''",
        (*key.parameters(), offset),
    ).fetchone()
    return offset if row[0] is None else row[0]


def _read_piece(connection: sqlite3.Connection, key: LogKey, at: int, limit: int) -> bytes:
    """Up to `limit` bytes from byte `at` of the log on, out of the one chunk that holds it; else nothing."""
    row = connection.execute(
        f"SELECT offset, substr(data, ? - offset + 1, ?) FROM log_chunks WHERE {_SAME_LOG}"
        " AND offset <= ? ORDER BY offset DESC LIMIT 1",
        (at, limit, *key.parameters(), at),
    ).fetchone()
    return row[1] if row else b""
