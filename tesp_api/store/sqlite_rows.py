"""Tasks as rows: the conversions in both directions, and how a task is read and written down."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic_core

from tesp_api.store.base import GROUP_TAG, Claim, Glance, HistoryEntry, Job, Permit, Standing, Task
from tesp_api.tes.states import State

NO_GROUPS = "[]"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_IDS_PER_QUERY = 500

_COLUMNS = (
    "t.id, t.owner, t.state, t.created_at, t.attempt, t.live, t.destination, t.job_id, "
    "t.job_server, t.job_asks, t.permit_worker, t.permit_step, "
    "t.claim_owner, t.claim_epoch, t.claim_expires_at, r.document, r.warnings, t.groups_json, "
    "(SELECT s.sealed FROM sealed_logins AS s WHERE s.task_id = t.id), "
    "EXISTS (SELECT 1 FROM watches AS w WHERE w.subject = t.id)"
)


def to_micros(moment: datetime) -> int:
    """An aware `moment` as microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def to_bytes(text: str) -> bytes:
    """Text to be compared exactly; JSON may carry lone surrogates, which strict UTF-8 has no bytes for."""
    return text.encode("utf-8", "surrogatepass")


def to_json(document: Mapping[str, Any] | Sequence[str]) -> str:
    """As JSON that `json.loads` reads back the same, lone surrogates included."""
    try:
        return pydantic_core.to_json(document).decode()
    except pydantic_core.PydanticSerializationError:
        return json.dumps(document, separators=(",", ":"))


def add_history(
    connection: sqlite3.Connection, task_id: str, at_micros: int, state: State, attempt: int, reason: str
) -> None:
    """Add the next line to a task's history."""
    printable = reason.encode("utf-8", "backslashreplace").decode()
    connection.execute(
        "INSERT INTO history SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5"
        " FROM history WHERE task_id = ?1",
        (task_id, at_micros, state, attempt, printable),
    )


def read_history(connection: sqlite3.Connection, task_id: str) -> list[HistoryEntry]:
    rows = connection.execute(
        "SELECT at, state, attempt, reason FROM history WHERE task_id = ? ORDER BY number", (task_id,)
    )
    return [HistoryEntry(from_micros(at), State(state), n, reason) for at, state, n, reason in rows]


def read_glance(connection: sqlite3.Connection, task_id: str) -> Glance | None:
    """The task's state and whose it is; None for an unknown task."""
    row = connection.execute(
        "SELECT state, owner, groups_json FROM tasks WHERE id = ?", (task_id,)
    ).fetchone()
    return None if row is None else Glance(State(row[0]), row[1], read_groups(row[2]))


def read_groups(groups_json: str) -> tuple[str, ...]:
    """The groups of a task; those of most tasks are none."""
    return () if groups_json == NO_GROUPS else tuple(json.loads(groups_json))


def read_standing(connection: sqlite3.Connection, task_id: str) -> Standing | None:
    """Where the task stands; None for an unknown task."""
    row = connection.execute(
        "SELECT state, attempt, destination, job_id FROM tasks WHERE id = ?", (task_id,)
    ).fetchone()
    if row is None:
        return None
    state, attempt, destination, job_id = row
    return Standing(State(state), attempt, None if job_id is None else Job(destination, job_id))


def read_tags(connection: sqlite3.Connection, task_id: str) -> list[tuple[bytes, bytes]]:
    """The task's tags, as the table of tags has them."""
    row = connection.execute(
        "SELECT r.document, t.groups_json FROM requests AS r JOIN tasks AS t ON t.id = r.task_id"
        " WHERE r.task_id = ?",
        (task_id,),
    ).fetchone()
    return [] if row is None else tags_of(json.loads(row[0]), read_groups(row[1]))


def tags_of(request: Mapping[str, Any], groups: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """The tags in a task document, and those that stand for its groups, as bytes to compare."""
    tags: Mapping[str, str] = request.get("tags") or {}
    pairs = [*tags.items(), *((GROUP_TAG, group) for group in groups)]
    return [(to_bytes(key), to_bytes(value)) for key, value in pairs]


def read_tasks(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Task]:
    """The tasks with these ids, in this order; an id that is unknown is left out."""
    found: dict[str, Task] = {}
    for start in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[start : start + _IDS_PER_QUERY]
        marks = ",".join("?" * len(some))
        # The marks are the only thing put into the text: as many as there are ids.
        logs = connection.execute(
            f"SELECT task_id, document FROM attempt_logs WHERE task_id IN ({marks})"
            " ORDER BY task_id, attempt",
            some,
        )
        logs_by_task = _grouped(logs)
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM tasks AS t JOIN requests AS r ON r.task_id = t.id"
            f" WHERE t.id IN ({marks})",
            some,
        )
        found.update((row[0], _task(row, logs_by_task.get(row[0], ()))) for row in rows)
    return [found[task_id] for task_id in ids if task_id in found]


def _grouped(logs: Iterable[tuple[str, str]]) -> dict[str, list[Mapping[str, Any]]]:
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for task_id, document in logs:
        by_task.setdefault(task_id, []).append(json.loads(document))
    return by_task


def _task(row: tuple[Any, ...], logs: Sequence[Mapping[str, Any]]) -> Task:
    task_id, owner, state, created_at, attempt, live, destination, job_id, *rest = row
    server, asks, worker, step, *claim, request, warnings, groups, sealed, watched = rest
    return Task(
        id=task_id,
        owner=owner,
        state=State(state),
        created_at=from_micros(created_at),
        request=json.loads(request),
        logs=tuple(logs),
        attempt=attempt,
        job=None if job_id is None else Job(destination, job_id, server, bool(asks)),
        live=bool(live),
        claim=_claim(task_id, *claim),
        warnings=tuple(json.loads(warnings)),
        sealed=sealed or "",
        permit=None if step is None else Permit(worker, step),
        groups=read_groups(groups),
        watched=bool(watched),
    )


def _claim(task_id: str, owner: str | None, epoch: int, expires_at: int | None) -> Claim | None:
    if owner is None or expires_at is None:
        return None
    return Claim(task_id, owner, epoch, from_micros(expires_at))
