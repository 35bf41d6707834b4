"""How many tasks are in which state, in SQLite: kept by triggers, in the transactions of the changes.

There is a count for each owner, groups and state, so that who sees which tasks can be told of each count. The
counts of all are rows of an owner that nobody is.
"""

import sqlite3
from collections.abc import Collection, Iterator

from tesp_api.store.glimpses import counts_seen
from tesp_api.store.sqlite_rows import NO_GROUPS, read_groups
from tesp_api.store.sqlite_usage import ALL
from tesp_api.tes.states import State

_ADD = """INSERT INTO state_counts VALUES ({row}.owner, {row}.groups_json, {row}.state, {by}),
    ('*', '[]', {row}.state, {by})
    ON CONFLICT (owner, groups_json, state) DO UPDATE SET tasks = tasks + excluded.tasks;"""

_ADD_NEW = _ADD.format(row="NEW", by="1")
_DROP_OLD = _ADD.format(row="OLD", by="-1")

STATEMENTS = (
    """CREATE TABLE state_counts (
        owner TEXT NOT NULL,
        groups_json TEXT NOT NULL,
        state TEXT NOT NULL,
        tasks INTEGER NOT NULL,
        PRIMARY KEY (owner, groups_json, state)
    ) WITHOUT ROWID""",
    "CREATE INDEX state_counts_shared ON state_counts (groups_json) WHERE groups_json <> '[]'",
    "INSERT INTO state_counts SELECT owner, groups_json, state, count(*) FROM tasks"
    " GROUP BY owner, groups_json, state",
    "INSERT INTO state_counts SELECT '*', '[]', state, count(*) FROM tasks GROUP BY state",
    f"""CREATE TRIGGER state_of_created AFTER INSERT ON tasks BEGIN
        {_ADD_NEW}
    END""",
    f"""CREATE TRIGGER state_of_changed AFTER UPDATE OF state ON tasks WHEN OLD.state <> NEW.state BEGIN
        {_DROP_OLD}
        {_ADD_NEW}
    END""",
    f"""CREATE TRIGGER state_of_removed AFTER DELETE ON tasks BEGIN
        {_DROP_OLD}
    END""",
)
"""What begins to count, as a part of a migration."""

_OF = "SELECT owner, groups_json, state, tasks FROM state_counts"


def read_counts(
    connection: sqlite3.Connection, owner: str | None, groups: Collection[str]
) -> dict[State, int]:
    """The counts of the tasks that somebody sees: their own, and those of their groups; None sees all."""
    if owner is None:
        return counts_seen(_rows(connection, f"{_OF} WHERE owner = ?", ALL), None, ())
    seen = counts_seen(_rows(connection, f"{_OF} WHERE owner = ?", owner), owner, ())
    if groups:
        shared = f"{_OF} INDEXED BY state_counts_shared WHERE groups_json <> '{NO_GROUPS}' AND owner <> ?"
        for state, count in counts_seen(_rows(connection, shared, owner), owner, groups).items():
            seen[state] = seen.get(state, 0) + count
    return seen


def read_oldest_queued(connection: sqlite3.Connection) -> str | None:
    """The id of the oldest task that is QUEUED."""
    found = connection.execute("SELECT min(id) FROM tasks WHERE state = ?", (State.QUEUED,)).fetchone()
    return None if found is None else found[0]


def _rows(
    connection: sqlite3.Connection, sql: str, owner: str
) -> Iterator[tuple[str, Collection[str], State, int]]:
    for one_owner, groups_json, state, tasks in connection.execute(sql, (owner,)):
        yield one_owner, read_groups(groups_json), State(state), tasks
