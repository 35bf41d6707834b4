"""Claims in SQLite: taking, extending and giving up the right to drive tasks.

Every function runs within the writer's transaction. A lease is over when its end is reached.
"""

import sqlite3

from tesp_api.errors import ClaimLost
from tesp_api.store.base import Claim, Task
from tesp_api.store.sqlite_rows import read_tasks
from tesp_api.store.sqlite_schema import ADOPTABLE, CLAIMED, WAITING
from tesp_api.tes.states import State

_EXPIRED = f"{CLAIMED} AND claim_expires_at <= :now AND live = 1"
_NEW = "job_id IS NULL AND state = 'QUEUED'"

_FREE_OLD = (
    f"SELECT id FROM tasks INDEXED BY tasks_adoptable WHERE {ADOPTABLE}"
    f" UNION ALL SELECT id FROM tasks INDEXED BY tasks_by_lease WHERE {_EXPIRED} AND NOT ({_NEW})"
)
# Both parts are cut before they are merged, so that a long queue is not read to its end.
_FREE_NEW = (
    "SELECT id FROM ("
    f"SELECT id FROM tasks INDEXED BY tasks_waiting WHERE {WAITING} ORDER BY id LIMIT :limit"
    f") UNION ALL SELECT id FROM tasks INDEXED BY tasks_by_lease WHERE {_EXPIRED} AND {_NEW}"
    " ORDER BY id LIMIT :limit"
)


def take_claims(
    connection: sqlite3.Connection, owner: str, now: int, expires_at: int, new_limit: int
) -> list[Task]:
    """Claim what is free, oldest first: all that has begun, and up to `new_limit` that has not."""
    free = connection.execute(_FREE_OLD, {"now": now}).fetchall()
    free += connection.execute(_FREE_NEW, {"now": now, "limit": max(0, new_limit)}).fetchall()
    ids = sorted(task_id for (task_id,) in free)
    connection.executemany(
        "UPDATE tasks SET claim_owner = ?, claim_epoch = claim_epoch + 1, claim_expires_at = ? WHERE id = ?",
        [(owner, expires_at, task_id) for task_id in ids],
    )
    return read_tasks(connection, ids)


def extend_claims(connection: sqlite3.Connection, owner: str, expires_at: int) -> dict[str, State]:
    """Let all claims of `owner` end at `expires_at`; return the states of its tasks."""
    connection.execute("UPDATE tasks SET claim_expires_at = ? WHERE claim_owner = ?", (expires_at, owner))
    held = connection.execute("SELECT id, state FROM tasks WHERE claim_owner = ?", (owner,))
    return {task_id: State(state) for task_id, state in held}


def drop_claims(connection: sqlite3.Connection, owner: str | None = None) -> None:
    """End all claims of `owner`, or of everyone. Epochs stay: an old claim never becomes valid again."""
    whose = CLAIMED if owner is None else "claim_owner = :owner"
    connection.execute(
        f"UPDATE tasks SET claim_owner = NULL, claim_expires_at = NULL WHERE {whose}",
        {"owner": owner},
    )


def drop_claims_of_server(connection: sqlite3.Connection, server: str) -> None:
    """End the claims of all owners whose names begin with `server` and a colon."""
    connection.execute(
        "UPDATE tasks SET claim_owner = NULL, claim_expires_at = NULL"
        f" WHERE {CLAIMED} AND substr(claim_owner, 1, length(?1) + 1) = ?1 || ':'",
        (server,),
    )


def check_claim(connection: sqlite3.Connection, claim: Claim) -> None:
    """Return if `claim` is the task's present claim, expired or not.

    Raises:
        ClaimLost: it is not, or there is no such task.
    """
    row = connection.execute(
        "SELECT 1 FROM tasks WHERE id = ? AND claim_owner = ? AND claim_epoch = ?",
        (claim.task_id, claim.owner, claim.epoch),
    ).fetchone()
    if row is None:
        raise ClaimLost(claim.task_id)
