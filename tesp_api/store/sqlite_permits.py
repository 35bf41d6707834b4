"""Permits in SQLite. Every function runs within the writer's transaction."""

import sqlite3

from tesp_api.errors import AttemptBegun, TaskNotFound
from tesp_api.store.base import Permit, PermitStep, Revocation
from tesp_api.store.permits import check_permit
from tesp_api.tes.states import State


def grant(connection: sqlite3.Connection, task_id: str, attempt: int, worker: str, step: PermitStep) -> None:
    """Grant it, or do nothing if this worker has it, or more, already.

    Raises:
        PermitRefused: the text says why.
        TaskNotFound: there is none with this id.
    """
    row = connection.execute("SELECT state, attempt FROM tasks WHERE id = ?", (task_id,)).fetchone()
    if row is None:
        raise TaskNotFound(task_id)
    permit = _permit(connection, task_id)
    check_permit(attempt, worker, step, state=State(row[0]), present=row[1], permit=permit)
    if permit is None or step == "commit":
        _write(connection, task_id, Permit(worker, step))


def revoke(connection: sqlite3.Connection, task_id: str, revocation: Revocation) -> None:
    """Grant nothing more for the task's present attempt.

    Raises:
        AttemptBegun: another worker has its start permit, and the revocation is only for where none has.
    """
    permit = _permit(connection, task_id)
    worker = "" if permit is None else permit.worker
    if revocation.unless_begun and worker not in ("", revocation.worker):
        attempt = connection.execute("SELECT attempt FROM tasks WHERE id = ?", (task_id,)).fetchone()[0]
        raise AttemptBegun(task_id, attempt)
    _write(connection, task_id, Permit(worker, "revoked"))


def _permit(connection: sqlite3.Connection, task_id: str) -> Permit | None:
    row = connection.execute(
        "SELECT permit_worker, permit_step FROM tasks WHERE id = ? AND permit_step IS NOT NULL", (task_id,)
    ).fetchone()
    return None if row is None else Permit(*row)


def _write(connection: sqlite3.Connection, task_id: str, permit: Permit) -> None:
    connection.execute(
        "UPDATE tasks SET permit_worker = ?, permit_step = ? WHERE id = ?",
        (permit.worker, permit.step, task_id),
    )
