"""Changes of a task in SQLite: its state, its job, its logs, its end.

Every function runs within the writer's transaction, so what it checks still holds when it writes.
"""

import sqlite3

from tesp_api.errors import TaskNotFound, TaskNotOver, TransitionRefused
from tesp_api.store.base import Changes, Claim, Task
from tesp_api.store.sqlite_claims import check_claim
from tesp_api.store.sqlite_notices import Change, announce
from tesp_api.store.sqlite_permits import revoke
from tesp_api.store.sqlite_rows import add_history, read_tags, read_tasks, to_json
from tesp_api.tes.states import FINAL, TRANSITIONS, State


def cancel(connection: sqlite3.Connection, task_id: str, reason: str, now: int) -> State:
    """Move the task to CANCELING where the table allows it; return its state afterwards.

    Raises:
        TaskNotFound: there is none with this id.
    """
    row = connection.execute("SELECT state, attempt FROM tasks WHERE id = ?", (task_id,)).fetchone()
    if row is None:
        raise TaskNotFound(task_id)
    state, attempt = State(row[0]), row[1]
    if State.CANCELING not in TRANSITIONS[state]:
        return state
    _enter(connection, Change("task", task_id, State.CANCELING, state, attempt, now), reason)
    return State.CANCELING


def move(
    connection: sqlite3.Connection, to: State, changes: Changes, *, claim: Claim, reason: str, now: int
) -> Task:
    """Apply `changes` and move the claim's task to `to`.

    Raises:
        ClaimLost: the claim is not the task's present one.
        TransitionRefused: the table does not allow it.
        AttemptBegun: the changes revoke what has begun.
    """
    check_claim(connection, claim)
    current = _state(connection, claim.task_id)
    if to not in TRANSITIONS[current]:
        raise TransitionRefused(claim.task_id, current, to)
    attempt = _apply(connection, claim.task_id, changes)
    _enter(connection, Change("task", claim.task_id, to, current, attempt, now), reason)
    return _read(connection, claim.task_id)


def change(
    connection: sqlite3.Connection, changes: Changes, *, claim: Claim, reason: str | None, now: int
) -> Task:
    """Apply `changes` to the claim's task; with a reason, note it in the history.

    Raises:
        ClaimLost: the claim is not the task's present one.
        AttemptBegun: the changes revoke what has begun.
    """
    check_claim(connection, claim)
    attempt = _apply(connection, claim.task_id, changes)
    if reason is not None:
        state = _state(connection, claim.task_id)
        add_history(connection, claim.task_id, now, state, attempt, reason)
    return _read(connection, claim.task_id)


def end_life(connection: sqlite3.Connection, claim: Claim) -> None:
    """Nothing is left to do: no job, no reports of it, no claim, no secrets, not live.

    Raises:
        ClaimLost: the claim is not the task's present one.
        TaskNotOver: the task has not ended.
    """
    check_claim(connection, claim)
    state = _state(connection, claim.task_id)
    if state not in FINAL:
        raise TaskNotOver(claim.task_id, state)
    connection.execute(
        "DELETE FROM reports WHERE job_id = (SELECT job_id FROM tasks WHERE id = ?)", (claim.task_id,)
    )
    connection.execute(
        "UPDATE tasks SET live = 0, destination = NULL, job_id = NULL, job_server = '', job_asks = 0,"
        " permit_worker = NULL, permit_step = NULL, claim_owner = NULL, claim_expires_at = NULL WHERE id = ?",
        (claim.task_id,),
    )
    connection.execute("DELETE FROM sealed_logins WHERE task_id = ?", (claim.task_id,))


def _enter(connection: sqlite3.Connection, change: Change, reason: str) -> None:
    task_id, state, at = change.subject, change.state, change.at_micros
    ended_at = at if state in FINAL else None
    connection.execute("UPDATE tasks SET state = ?, ended_at = ? WHERE id = ?", (state, ended_at, task_id))
    connection.executemany(
        "UPDATE tags SET state = ? WHERE key = ? AND value = ? AND task_id = ?",
        [(state, *tag, task_id) for tag in read_tags(connection, task_id)],
    )
    add_history(connection, task_id, at, state, change.attempt, reason)
    announce(connection, change)


def _apply(connection: sqlite3.Connection, task_id: str, changes: Changes) -> int:
    """Write `changes` down; return the task's attempt afterwards, which is the one its log belongs to."""
    if changes.revokes is not None:
        revoke(connection, task_id, changes.revokes)
    if changes.attempt is not None:
        connection.execute(
            "UPDATE tasks SET attempt = ?, permit_worker = NULL, permit_step = NULL WHERE id = ?",
            (changes.attempt, task_id),
        )
    if changes.job is not None:
        job = changes.job
        connection.execute(
            "UPDATE tasks SET destination = ?1, went_to = ?1, job_id = ?2, job_server = ?3, job_asks = ?4"
            " WHERE id = ?5",
            (job.destination, job.job_id, job.server, job.asks, task_id),
        )
    attempt: int = connection.execute("SELECT attempt FROM tasks WHERE id = ?", (task_id,)).fetchone()[0]
    if changes.log is not None:
        connection.execute(
            "INSERT INTO attempt_logs VALUES (?, ?, ?)"
            " ON CONFLICT (task_id, attempt) DO UPDATE SET document = excluded.document",
            (task_id, attempt, to_json(changes.log)),
        )
    return attempt


def _state(connection: sqlite3.Connection, task_id: str) -> State:
    return State(connection.execute("SELECT state FROM tasks WHERE id = ?", (task_id,)).fetchone()[0])


def _read(connection: sqlite3.Connection, task_id: str) -> Task:
    return read_tasks(connection, [task_id])[0]
