"""Claims of runs in SQLite: the right to have them expanded.

Every function runs within the writer's transaction. A lease is over when its end is reached.
"""

import sqlite3
from collections.abc import Collection

from tesp_api.errors import ClaimLost
from tesp_api.store.base import Claim
from tesp_api.store.runs import RunToDo
from tesp_api.store.sqlite_schema import CLAIMED, RUN_TO_DO
from tesp_api.store.turns import dealt_out
from tesp_api.tes.states import State

_FREE = (
    f"SELECT id, owner, state, doomed, engine, work_url FROM runs INDEXED BY runs_to_do WHERE ({RUN_TO_DO})"
    " AND (claim_owner IS NULL OR claim_expires_at <= ?) ORDER BY id"
)
_IS_FREE = f"{_FREE.partition(' ORDER BY')[0]} AND id = ?"
_TO_DO = (
    "SELECT id, state, engine, work_url, coalesce(claim_expires_at > ?, 0), doomed"
    f" FROM runs INDEXED BY runs_to_do WHERE {RUN_TO_DO} ORDER BY id LIMIT ?"
)
_HAD = (
    f"SELECT owner, count(*) FROM runs INDEXED BY runs_to_do WHERE ({RUN_TO_DO}) AND doomed = 0"
    " AND (state <> ? OR claim_expires_at > ?) GROUP BY owner"
)


def take_claims(
    connection: sqlite3.Connection,
    owner: str,
    now: int,
    expires_at: int,
    new_limit: int,
    without: Collection[str] = (),
    base_url: str | None = None,
    reserved: int = 0,
) -> list[str]:
    """Claim what is free: all that has begun, and up to `new_limit` that has not, users in turn.

    The last `reserved` of these are for users who have none that is claimed or has begun. Of the engines
    `without` only what is CANCELING or doomed, and of files that are not below `base_url` only what is
    CANCELING.
    """
    free = [
        (run_id, whose, state == State.QUEUED and not doomed)
        for run_id, whose, state, doomed, engine, url in connection.execute(_FREE, (now,)).fetchall()
        if state == State.CANCELING
        or ((engine not in without or doomed) and base_url in (None, url.removesuffix(f"{run_id}/")))
    ]
    waiting = [(run_id, whose) for run_id, whose, is_new in free if is_new]
    had = dict(connection.execute(_HAD, (State.QUEUED, now)).fetchall()) if waiting else {}
    left = {run_id for run_id, _ in waiting} - dealt_out(waiting, had, new_limit, reserved=reserved)
    taken = [run_id for run_id, *_ in free if run_id not in left]
    connection.executemany(
        "UPDATE runs SET claim_owner = ?, claim_epoch = claim_epoch + 1, claim_expires_at = ? WHERE id = ?",
        [(owner, expires_at, run_id) for run_id in taken],
    )
    return taken


def list_to_do(connection: sqlite3.Connection, now: int, limit: int) -> list[RunToDo]:
    rows = connection.execute(_TO_DO, (now, limit))
    return [
        RunToDo(run_id, State(state), engine, work_url, bool(is_claimed), bool(doomed))
        for run_id, state, engine, work_url, is_claimed, doomed in rows
    ]


def is_free(connection: sqlite3.Connection, run_id: str, now: int) -> bool:
    """Whether there is something to do for the run, and nobody holds it."""
    return connection.execute(_IS_FREE, (now, run_id)).fetchone() is not None


def extend_claims(
    connection: sqlite3.Connection, owner: str, run_ids: Collection[str], expires_at: int
) -> None:
    """Let the claims of `owner` on these runs end at `expires_at`."""
    connection.executemany(
        "UPDATE runs SET claim_expires_at = ? WHERE claim_owner = ? AND id = ?",
        [(expires_at, owner, run_id) for run_id in run_ids],
    )


def held(connection: sqlite3.Connection, owner: str) -> dict[str, State]:
    """The runs that `owner` has claimed, with their states."""
    rows = connection.execute("SELECT id, state FROM runs WHERE claim_owner = ?", (owner,))
    return {run_id: State(state) for run_id, state in rows}


def drop_claims(connection: sqlite3.Connection, owner: str | None = None) -> None:
    """End all claims of `owner`, or of everyone. Epochs stay: an old claim never becomes valid again."""
    whose = CLAIMED if owner is None else "claim_owner = :owner"
    connection.execute(
        f"UPDATE runs SET claim_owner = NULL, claim_expires_at = NULL WHERE {whose}",
        {"owner": owner},
    )


def check_claim(connection: sqlite3.Connection, claim: Claim) -> None:
    """Return if `claim` is the run's present claim, expired or not.

    Raises:
        ClaimLost: it is not, or there is no such run.
    """
    row = connection.execute(
        "SELECT 1 FROM runs WHERE id = ? AND claim_owner = ? AND claim_epoch = ?",
        (claim.task_id, claim.owner, claim.epoch),
    ).fetchone()
    if row is None:
        raise ClaimLost(claim.task_id)
