"""The outbox in SQLite: who is told of what (`watches`), and what they are to be told (`notices`).

Functions that write run within the writer's transaction, those that announce a change within that of the
change itself.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from tesp_api.store.outbox import (
    Bounds,
    Delivery,
    Kind,
    Notice,
    Outcome,
    Watch,
    event_id_of,
    hooks_from_json,
    hooks_to_json,
)
from tesp_api.store.sqlite_rows import from_micros
from tesp_api.tes.states import State

WAITS = "done_at IS NULL"
DONE = "done_at IS NOT NULL"

STATEMENTS = (
    # Of the few tasks and runs that have some.
    """CREATE TABLE watches (
        subject TEXT PRIMARY KEY,
        hooks TEXT NOT NULL,
        about TEXT NOT NULL,
        changes INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE notices (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL,
        receiver BLOB NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        number INTEGER NOT NULL,
        state TEXT NOT NULL,
        previous TEXT,
        attempt INTEGER NOT NULL,
        at INTEGER NOT NULL,
        about TEXT NOT NULL,
        due_at INTEGER NOT NULL DEFAULT 0,
        tries INTEGER NOT NULL DEFAULT 0,
        fate TEXT NOT NULL DEFAULT 'waiting',
        said TEXT NOT NULL DEFAULT '',
        done_at INTEGER
    )""",
    f"CREATE INDEX notices_waiting ON notices (receiver, subject, key) WHERE {WAITS}",
    f"CREATE INDEX notices_done ON notices (done_at) WHERE {DONE}",
    "CREATE INDEX notices_by_subject ON notices (subject, key)",
)
"""The tables, as a part of a migration."""

_QUEUE = f"FROM notices INDEXED BY notices_waiting WHERE {WAITS}"
# One look into the index for each receiver, however many notices wait for it.
_RECEIVERS = (
    f"WITH RECURSIVE found (name) AS (SELECT min(receiver) {_QUEUE}"
    f" UNION ALL SELECT (SELECT min(receiver) {_QUEUE} AND receiver > found.name)"
    " FROM found WHERE found.name IS NOT NULL) SELECT name FROM found WHERE name IS NOT NULL"
)
_DUE = (
    f"SELECT key FROM notices AS n INDEXED BY notices_waiting WHERE {WAITS} AND receiver = ?1"
    f" AND due_at <= ?2 AND key = (SELECT min(key) {_QUEUE} AND receiver = ?1 AND subject = n.subject)"
    " ORDER BY key LIMIT ?3"
)
_CLAIMED = (
    "UPDATE notices SET tries = tries + 1, due_at = ? WHERE key = ? RETURNING"
    " key, event_id, receiver, kind, subject, number, state, previous, attempt, at, about, tries"
)
_COUNTS = f"SELECT receiver, count(*) {_QUEUE} GROUP BY receiver"
_OVERDUE = f"SELECT key {_QUEUE} AND at < ?"
_TOO_MANY = f"SELECT key {_QUEUE} AND receiver = ? ORDER BY key LIMIT ?"
_OLD = f"DELETE FROM notices WHERE {DONE} AND done_at < ?"
_LATER = f"UPDATE notices SET said = ?, due_at = ? WHERE key = ? AND tries = ? AND {WAITS}"
_ENDED = (
    f"UPDATE notices SET said = ?, done_at = ?, fate = ?, about = '' WHERE key = ? AND tries = ? AND {WAITS}"
)
_GIVEN_UP = f"UPDATE notices SET fate = 'given_up', done_at = ?, about = '' WHERE key = ? AND {WAITS}"


@dataclass(frozen=True, slots=True)
class Change:
    """A task, or a run, comes into a state."""

    kind: Kind
    subject: str
    state: State
    previous: State | None
    attempt: int
    at_micros: int


def begin(connection: sqlite3.Connection, watch: Watch, first: Change) -> None:
    """Keep who is told of the subject's states, and tell them of the first one."""
    row = (first.subject, hooks_to_json(watch.hooks), watch.about)
    connection.execute("INSERT INTO watches VALUES (?, ?, ?, 0)", row)
    announce(connection, first)


def announce(connection: sqlite3.Connection, change: Change) -> None:
    """Put what is to be told of the change into the outbox; nothing, where nobody wants to know."""
    row = connection.execute(
        "SELECT hooks, about, changes + 1 FROM watches WHERE subject = ?", (change.subject,)
    ).fetchone()
    if row is None:
        return
    hooks, about, number = row
    connection.execute("UPDATE watches SET changes = ? WHERE subject = ?", (number, change.subject))
    notice = (
        *(change.kind, change.subject, number, change.state, change.previous),
        *(change.attempt, change.at_micros, about),
    )
    event_id = event_id_of(change.subject, number)
    connection.executemany(
        "INSERT INTO notices (event_id, receiver, kind, subject, number, state, previous, attempt, at, about)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (event_id, to_bytes(receiver), *notice)
            for receiver in Watch(hooks_from_json(hooks), about).receivers(change.state)
        ],
    )


def forget(connection: sqlite3.Connection, subject: str) -> None:
    """The subject is deleted: nothing more can come. What waits is delivered still."""
    connection.execute("DELETE FROM watches WHERE subject = ?", (subject,))


def make_all_due(connection: sqlite3.Connection) -> None:
    """Nobody is trying anything: the process that did so has ended."""
    connection.execute(f"UPDATE notices SET due_at = 0 WHERE {WAITS}")


def read_receivers(connection: sqlite3.Connection) -> list[str]:
    return [_text(name) for (name,) in connection.execute(_RECEIVERS)]


def claim(connection: sqlite3.Connection, receiver: str, *, now: int, until: int, limit: int) -> list[Notice]:
    """Up to `limit` that are due, each the oldest that waits for the receiver about its subject."""
    keys = connection.execute(_DUE, (to_bytes(receiver), now, limit)).fetchall()
    return [_notice(connection.execute(_CLAIMED, (until, key)).fetchone()) for (key,) in keys]


def settle(
    connection: sqlite3.Connection, notice: Notice, outcome: Outcome, *, due_at: int, now: int
) -> None:
    """Write down how the try ended, unless another one has begun since."""
    one = (int(notice.key), notice.tries)
    if outcome.fate == "waiting":
        connection.execute(_LATER, (outcome.said, due_at, *one))
    else:
        connection.execute(_ENDED, (outcome.said, now, outcome.fate, *one))


def sweep(connection: sqlite3.Connection, bounds: Bounds, now: int) -> int:
    """Give up what waits too long, or is too much, and forget what was done long ago."""
    connection.execute(_OLD, (now - _micros(bounds.kept_s),))
    too_old = now - _micros(bounds.give_up_s)
    keys = connection.execute(_OVERDUE, (too_old,)).fetchall()
    for receiver, count in connection.execute(_COUNTS).fetchall():
        if count > bounds.waiting_max:
            keys += connection.execute(_TOO_MANY, (receiver, count - bounds.waiting_max)).fetchall()
    return sum(connection.execute(_GIVEN_UP, (now, key)).rowcount for (key,) in keys)


def read_deliveries(connection: sqlite3.Connection, subject: str) -> list[Delivery]:
    rows = connection.execute(
        "SELECT event_id, receiver, state, attempt, at, fate, tries, said, done_at FROM notices"
        " WHERE subject = ? ORDER BY key",
        (subject,),
    )
    return [
        Delivery(
            event_id, _text(receiver), State(state), attempt, from_micros(at), fate, tries, said, _at(done)
        )
        for event_id, receiver, state, attempt, at, fate, tries, said, done in rows
    ]


def count_waiting(connection: sqlite3.Connection) -> dict[str, int]:
    return {_text(receiver): count for receiver, count in connection.execute(_COUNTS)}


def to_bytes(receiver: str) -> bytes:
    return receiver.encode("utf-8", "surrogatepass")


def _text(receiver: bytes) -> str:
    return receiver.decode("utf-8", "surrogatepass")


def _at(micros: int | None) -> Any:
    return None if micros is None else from_micros(micros)


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _notice(row: tuple[Any, ...]) -> Notice:
    key, event_id, receiver, kind, subject, number, state, previous, attempt, at, about, tries = row
    return Notice(
        *(str(key), event_id, _text(receiver), kind, subject, number, State(state)),
        *(State(previous) if previous else None, attempt, from_micros(at), about, tries),
    )
