"""Runs as rows: how a run, its steps and its logs are written down and read."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from tesp_api.errors import KeyReused
from tesp_api.store.base import Claim, LogPart, OnceKey
from tesp_api.store.run_states import RUN_FINAL, RUN_TRANSITIONS
from tesp_api.store.runs import Run, RunGlance, RunLogName, RunQuery, StepRecord
from tesp_api.store.sqlite_rows import from_micros, read_groups, to_bytes, to_json, to_micros
from tesp_api.tes.states import State

_COLUMNS = (
    "r.id, r.owner, r.state, r.created_at, r.started_at, r.ended_at, r.engine, r.work_url, r.resumes,"
    " r.groups_json, r.exit_code, r.doomed, r.claim_owner, r.claim_epoch, r.claim_expires_at"
)
_WHOLE = (
    f"SELECT {_COLUMNS}, d.request, d.params, d.outputs"
    " FROM runs AS r JOIN run_documents AS d ON d.run_id = r.id WHERE r.id = ?"
)
_TAGS_ALONE = """'{"tags":' || r.tags_json || '}'"""
_LISTED = f"SELECT {_COLUMNS}, {_TAGS_ALONE}, 'null', '{{}}' FROM runs AS r WHERE r.id = ?"
_STEP_COLUMNS = "id, run_id, key, name, task_id, reused_from"


def insert(connection: sqlite3.Connection, run: Run, once: OnceKey | None = None) -> bool:
    """Write down a new, QUEUED run, and under which key it is known.

    Returns False, and changes nothing, if its id is known.
    """
    row = (run.id, run.owner, State.QUEUED, to_micros(run.created_at), run.engine, run.work_url, run.resumes)
    inserted = connection.execute(
        "INSERT OR IGNORE INTO runs (id, owner, state, created_at, engine, work_url, resumes, groups_json,"
        " tags_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, to_json(tuple(run.groups)), to_json(run.request.get("tags") or {})),
    )
    if inserted.rowcount == 0:
        return False
    params = "null" if run.params is None else to_json(run.params)
    documents = (run.id, to_json(run.request), params)
    connection.execute("INSERT INTO run_documents VALUES (?, ?, ?, '{}')", documents)
    for group in run.groups:
        connection.execute("INSERT OR IGNORE INTO run_groups VALUES (?, ?)", (to_bytes(group), run.id))
    for used in run.uses:
        connection.execute("INSERT OR IGNORE INTO run_uses VALUES (?, ?)", (used, run.id))
    for line in run.system_logs:
        add_note(connection, run.id, line)
    if once is not None:
        key = (run.owner, to_bytes(once.key), to_bytes(once.body_digest), run.id)
        connection.execute("INSERT OR REPLACE INTO run_once_keys VALUES (?, ?, ?, ?)", key)
    return True


def id_under(connection: sqlite3.Connection, owner: str, once: OnceKey) -> str | None:
    """The run that its owner created under the key, unless it has been deleted.

    Raises:
        KeyReused: it was created from another body.
    """
    row = connection.execute(
        "SELECT k.body_digest, k.run_id FROM run_once_keys AS k JOIN runs AS r ON r.id = k.run_id"
        " WHERE k.owner = ? AND k.key = ? AND r.doomed = 0",
        (owner, to_bytes(once.key)),
    ).fetchone()
    if row is None:
        return None
    digest, run_id = row
    if digest != to_bytes(once.body_digest):
        raise KeyReused(once.key, what="run")
    return str(run_id)


def add_note(connection: sqlite3.Connection, run_id: str, line: str) -> None:
    """Add the next line to a run's system logs."""
    connection.execute(
        "INSERT INTO run_notes SELECT ?1, coalesce(max(number), 0) + 1, ?2 FROM run_notes WHERE run_id = ?1",
        (run_id, _printable(line)),
    )


def has_note(connection: sqlite3.Connection, run_id: str, line: str) -> bool:
    """Whether the line is in the run's system logs."""
    text = "SELECT 1 FROM run_notes WHERE run_id = ? AND line = ?"
    return connection.execute(text, (run_id, _printable(line))).fetchone() is not None


def _printable(line: str) -> str:
    return line.encode("utf-8", "backslashreplace").decode()


def read_runs(connection: sqlite3.Connection, ids: Sequence[str], *, whole: bool = True) -> list[Run]:
    """The runs with these ids, in this order, also doomed ones; those that are unknown are left out.

    What is not `whole` has of the request the tags alone, and no params, outputs, uses and system logs.
    """
    found = [_read_run(connection, run_id, whole) for run_id in ids]
    return [run for run in found if run is not None]


def _read_run(connection: sqlite3.Connection, run_id: str, whole: bool) -> Run | None:
    of_run = (run_id,)
    row = connection.execute(_WHOLE if whole else _LISTED, of_run).fetchone()
    if row is None:
        return None
    if not whole:
        return _run(row, [], [])
    notes = connection.execute("SELECT line FROM run_notes WHERE run_id = ? ORDER BY number", of_run)
    uses = connection.execute("SELECT used FROM run_uses WHERE run_id = ? ORDER BY used", of_run)
    return _run(row, [line for (line,) in notes], [used for (used,) in uses])


def _run(row: tuple[Any, ...], notes: list[str], uses: list[str]) -> Run:
    run_id, owner, state, created_at, started_at, ended_at, engine, work_url, resumes, *rest = row
    groups, exit_code, doomed, claim_owner, epoch, expires_at, request, params, outputs = rest
    is_claimed = claim_owner is not None and expires_at is not None
    return Run(
        id=run_id,
        owner=owner,
        state=State(state),
        created_at=from_micros(created_at),
        request=json.loads(request),
        engine=engine,
        work_url=work_url,
        params=json.loads(params),
        resumes=resumes,
        uses=tuple(uses),
        groups=read_groups(groups),
        started_at=None if started_at is None else from_micros(started_at),
        ended_at=None if ended_at is None else from_micros(ended_at),
        outputs=json.loads(outputs),
        exit_code=exit_code,
        system_logs=tuple(notes),
        claim=Claim(run_id, claim_owner, epoch, from_micros(expires_at)) if is_claimed else None,
        doomed=bool(doomed),
    )


def read_glance(connection: sqlite3.Connection, run_id: str) -> RunGlance | None:
    """The run's state and whose it is; None for one that is unknown or doomed."""
    row = connection.execute(
        "SELECT state, owner, groups_json FROM runs WHERE id = ? AND doomed = 0", (run_id,)
    ).fetchone()
    return None if row is None else RunGlance(State(row[0]), row[1], read_groups(row[2]))


def count_live(connection: sqlite3.Connection, owner: str) -> int:
    live = [state for state in RUN_TRANSITIONS if state not in RUN_FINAL]
    marks = ",".join("?" * len(live))
    text = f"SELECT count(*) FROM runs WHERE state IN ({marks}) AND owner = ? AND doomed = 0"
    return int(connection.execute(text, (*live, owner)).fetchone()[0])


def list_ids(connection: sqlite3.Connection, query: RunQuery, before: str, limit: int) -> list[str]:
    """The ids of up to `limit` runs that match and are older than `before`, newest first."""
    if query.group is not None:
        text = (
            "SELECT g.run_id FROM run_groups AS g JOIN runs AS r ON r.id = g.run_id"
            " WHERE g.name = ? AND g.run_id < ? AND r.doomed = 0"
        )
        values: list[Any] = [to_bytes(query.group), before]
        if query.owner is not None:
            text, values = text + " AND r.owner = ?", [*values, query.owner]
        rows = connection.execute(text + " ORDER BY g.run_id DESC LIMIT ?", [*values, limit])
    elif query.owner is not None:
        rows = connection.execute(
            "SELECT id FROM runs WHERE owner = ? AND id < ? AND doomed = 0 ORDER BY id DESC LIMIT ?",
            (query.owner, before, limit),
        )
    else:
        rows = connection.execute(
            "SELECT id FROM runs WHERE id < ? AND doomed = 0 ORDER BY id DESC LIMIT ?", (before, limit)
        )
    return [run_id for (run_id,) in rows]


def read_steps(connection: sqlite3.Connection, run_id: str, after: str, limit: int) -> list[StepRecord]:
    rows = connection.execute(
        f"SELECT {_STEP_COLUMNS} FROM run_steps WHERE run_id = ? AND id > ? ORDER BY id LIMIT ?",
        (run_id, after, limit),
    )
    return [StepRecord(*row) for row in rows]


def find_step(connection: sqlite3.Connection, run_id: str, column: str, value: str) -> StepRecord | None:
    """The run's step with this `key` or `task_id`; the newest, if there are several."""
    row = connection.execute(
        f"SELECT {_STEP_COLUMNS} FROM run_steps WHERE run_id = ? AND {column} = ? ORDER BY id DESC LIMIT 1",
        (run_id, value),
    ).fetchone()
    return None if row is None else StepRecord(*row)


def put_step(connection: sqlite3.Connection, step: StepRecord, *, replace: bool) -> StepRecord:
    """Keep the step unless the run has one with its key, which it may `replace`; return the one it has."""
    if replace:
        connection.execute("DELETE FROM run_steps WHERE run_id = ? AND key = ?", (step.run_id, step.key))
    row = (step.run_id, step.id, step.key, step.name, step.task_id, step.reused_from)
    connection.execute("INSERT OR IGNORE INTO run_steps VALUES (?, ?, ?, ?, ?, ?)", row)
    kept = find_step(connection, step.run_id, "key", step.key)
    assert kept is not None  # noqa: S101 - it was inserted, or was there
    return kept


def append_log(connection: sqlite3.Connection, run_id: str, name: RunLogName, data: bytes) -> None:
    """Add `data` to the end of the log."""
    row = (run_id, name, log_size(connection, run_id, name), data)
    connection.execute("INSERT INTO run_log_chunks VALUES (?, ?, ?, ?)", row)


def log_size(connection: sqlite3.Connection, run_id: str, name: RunLogName) -> int:
    row = connection.execute(
        "SELECT offset + length(data) FROM run_log_chunks WHERE run_id = ? AND name = ?"
        " ORDER BY offset DESC LIMIT 1",
        (run_id, name),
    ).fetchone()
    return 0 if row is None else int(row[0])


def read_log(
    connection: sqlite3.Connection, run_id: str, name: RunLogName, offset: int, limit: int
) -> LogPart:
    """Up to `limit` bytes from `offset` on."""
    rows = connection.execute(
        "SELECT offset, data FROM run_log_chunks WHERE run_id = ?1 AND name = ?2 AND offset < ?4"
        " AND offset >= coalesce((SELECT max(offset) FROM run_log_chunks"
        " WHERE run_id = ?1 AND name = ?2 AND offset <= ?3), 0) ORDER BY offset",
        (run_id, name, offset, offset + limit),
    )
    data = b"".join(chunk[max(0, offset - begin) :] for begin, chunk in rows)
    return LogPart(offset, data[:limit])
