"""Claims in SQLite: taking, extending and giving up the right to drive tasks.

Every function runs within the writer's transaction. A lease is over when its end is reached.
"""

import sqlite3

from tesp_api.errors import ClaimLost
from tesp_api.store.base import Claim, Task
from tesp_api.store.sqlite_rows import read_tasks
from tesp_api.store.sqlite_schema import ADOPTABLE, CLAIMED, WAITING
from tesp_api.store.turns import Shares, Turns
from tesp_api.tes.states import State

_EXPIRED = f"{CLAIMED} AND claim_expires_at <= :now AND live = 1"
_NEW = "job_id IS NULL AND state = 'QUEUED'"

_FREE_OLD = (
    f"SELECT id FROM tasks INDEXED BY tasks_adoptable WHERE {ADOPTABLE}"
    f" UNION ALL SELECT id FROM tasks INDEXED BY tasks_by_lease WHERE {_EXPIRED} AND NOT ({_NEW})"
)
_FREE_EXPIRED_NEW = (
    "UPDATE tasks SET claim_owner = NULL, claim_expires_at = NULL WHERE id IN"
    f" (SELECT id FROM tasks INDEXED BY tasks_by_lease WHERE {_EXPIRED} AND {_NEW})"
)

_QUEUE = f"FROM tasks INDEXED BY tasks_waiting_by_owner WHERE {WAITING}"
# One look into the index for each owner, however many tasks they have there.
_HEADS = (
    f"WITH RECURSIVE owners (name) AS (SELECT min(owner) {_QUEUE}"
    f" UNION ALL SELECT (SELECT min(owner) {_QUEUE} AND owner > owners.name)"
    " FROM owners WHERE owners.name IS NOT NULL)"
    f" SELECT name, (SELECT min(id) {_QUEUE} AND owner = owners.name) FROM owners WHERE name IS NOT NULL"
)
_OLDEST = f"SELECT id {_QUEUE} AND owner = ? AND id > ? ORDER BY id LIMIT ?"

_CANCELING = "SELECT id FROM tasks INDEXED BY tasks_by_state WHERE state = 'CANCELING' AND claim_owner = ?"


def take_claims(
    connection: sqlite3.Connection, owner: str, now: int, expires_at: int, new_limit: int, shares: Shares
) -> list[Task]:
    """Claim what is free: all that has begun, and up to `new_limit` that has not, dealt out by turns."""
    ids = [task_id for (task_id,) in connection.execute(_FREE_OLD, {"now": now})]
    if new_limit > 0:
        connection.execute(_FREE_EXPIRED_NEW, {"now": now})
        ids += _choose_new(connection, new_limit, shares)
    ids.sort()
    connection.executemany(
        "UPDATE tasks SET claim_owner = ?, claim_epoch = claim_epoch + 1, claim_expires_at = ? WHERE id = ?",
        [(owner, expires_at, task_id) for task_id in ids],
    )
    return read_tasks(connection, ids)


def _choose_new(connection: sqlite3.Connection, limit: int, shares: Shares) -> list[str]:
    turns = Turns(dict(connection.execute(_HEADS)), shares)
    chosen: list[str] = []
    while dealt := turns.deal(limit - len(chosen)):
        for owner, count in dealt.items():
            found = connection.execute(_OLDEST, (owner, turns.after(owner), count))
            ids = [task_id for (task_id,) in found]
            turns.give(owner, ids, count)
            chosen += ids
    return chosen


def extend_claims(connection: sqlite3.Connection, owner: str, expires_at: int) -> dict[str, State]:
    """Let all claims of `owner` end at `expires_at`; return the states of its tasks."""
    connection.execute("UPDATE tasks SET claim_expires_at = ? WHERE claim_owner = ?", (expires_at, owner))
    held = connection.execute("SELECT id, state FROM tasks WHERE claim_owner = ?", (owner,))
    return {task_id: State(state) for task_id, state in held}


def read_canceling(connection: sqlite3.Connection, owner: str) -> frozenset[str]:
    """Those of `owner`'s tasks whose cancel was asked for."""
    return frozenset(task_id for (task_id,) in connection.execute(_CANCELING, (owner,)))


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
