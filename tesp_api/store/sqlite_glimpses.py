"""Rows of lists, and tasks that have changed, read from SQLite."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tesp_api.store.glimpses import ListedTask, TaskChange
from tesp_api.store.sqlite_rows import from_micros, read_groups
from tesp_api.tes.states import State

_IDS_PER_QUERY = 500
# With several paths the answer is a JSON list, which has escapes for what SQLite's own texts could not hold.
_LISTED = (
    "SELECT t.id, t.owner, t.state, t.created_at, t.attempt, t.went_to, t.ended_at,"
    " json_extract(r.document, '$.name', '$.executors[0].image', '$.tags')"
    " FROM tasks AS t JOIN requests AS r ON r.task_id = t.id WHERE t.id IN ({marks})"
)
_CHANGED = "SELECT id, state, attempt, owner, groups_json FROM tasks WHERE id IN ({marks})"


def read_listed(connection: sqlite3.Connection, ids: Sequence[str]) -> list[ListedTask]:
    """The rows of these tasks, in this order; one that is not there is left out."""
    found = {row[0]: _listed(*row) for row in _select(connection, _LISTED, ids)}
    return [found[task_id] for task_id in ids if task_id in found]


def read_changed(connection: sqlite3.Connection, moments: Mapping[str, int]) -> list[TaskChange]:
    """How the tasks that changed at these moments are now; those that are gone are left out."""
    found = {row[0]: row for row in _select(connection, _CHANGED, list(moments))}
    changes = []
    for task_id, at in moments.items():
        if task_id in found:
            _, state, attempt, owner, groups = found[task_id]
            changes.append(
                TaskChange(task_id, State(state), attempt, from_micros(at), owner, read_groups(groups))
            )
    return changes


def _select(connection: sqlite3.Connection, sql: str, ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[start : start + _IDS_PER_QUERY]
        yield from connection.execute(sql.format(marks=",".join("?" * len(some))), some)


def _listed(
    task_id: str,
    owner: str,
    state: str,
    created_at: int,
    attempt: int,
    went_to: str | None,
    ended_at: int | None,
    extracted: str,
) -> ListedTask:
    name, image, tags = json.loads(extracted)
    return ListedTask(
        task_id,
        owner,
        State(state),
        from_micros(created_at),
        attempt,
        name or "",
        went_to or "",
        None if ended_at is None else from_micros(ended_at),
        image or "",
        tags or {},
    )
