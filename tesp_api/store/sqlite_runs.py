"""Workflow runs in SQLite, beside the tasks and in the same transactions' groups (`RunStore`).

`sqlite_schema` has the tables, `sqlite_run_rows` what is written and read, `sqlite_run_claims` the claims.
"""

import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime

from tesp_api.errors import RunInUse, RunNotFound, RunNotOver, TransitionRefused
from tesp_api.store import sqlite_notices as notices
from tesp_api.store import sqlite_run_claims as claims
from tesp_api.store import sqlite_run_rows as rows
from tesp_api.store.base import NEWEST, Claim, LogPart, OnceKey, Page
from tesp_api.store.outbox import Watch
from tesp_api.store.page_token import task_id_in, token_after
from tesp_api.store.run_states import RUN_FINAL, RUN_TRANSITIONS
from tesp_api.store.runs import (
    Run,
    RunEnd,
    RunGlance,
    RunLogName,
    RunQuery,
    RunToDo,
    StepRecord,
    too_many_live,
)
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.store.sqlite_rows import to_json, to_micros
from tesp_api.store.sqlite_schema import RUN_ENDED
from tesp_api.tes.states import State

_TABLES = (
    *("run_documents", "run_notes", "run_groups", "run_uses", "run_steps", "run_log_chunks"),
    "run_once_keys",
)
_USER = (
    "SELECT u.run_id FROM run_uses AS u JOIN runs AS r ON r.id = u.run_id"
    " WHERE u.used = ? AND r.doomed = 0 LIMIT 1"
)


class SqliteRunStore:
    """The `RunStore` in the database of `tasks`, which opens and closes it."""

    def __init__(self, tasks: SqliteTaskStore) -> None:
        self._tasks = tasks

    # -- the API's side

    async def create(
        self,
        run: Run,
        *,
        once: OnceKey | None = None,
        live_max: int | None = None,
        watch: Watch | None = None,
    ) -> str:
        def work(db: sqlite3.Connection) -> str:
            if once is not None and (known := rows.id_under(db, run.owner, once)):
                return known
            if live_max is not None and (live := rows.count_live(db, run.owner)) >= live_max:
                raise too_many_live(live_max, live)
            for used in run.uses:
                if rows.read_glance(db, used) is None:
                    raise RunNotFound(used)
            if rows.insert(db, run, once) and watch is not None:
                first = notices.Change("run", run.id, State.QUEUED, None, 0, to_micros(run.created_at))
                notices.begin(db, watch, first)
            return run.id

        stored = await self._tasks.write(work)
        self._ring(stored)
        return stored

    async def find_once(self, owner: str, once: OnceKey) -> str | None:
        return await self._tasks.read(lambda db: rows.id_under(db, owner, once))

    async def get(self, run_id: str) -> Run:
        found = await self._tasks.read(lambda db: rows.read_runs(db, [run_id]))
        if not found or found[0].doomed:
            raise RunNotFound(run_id)
        return found[0]

    async def glance(self, run_id: str) -> RunGlance:
        found = await self._tasks.read(lambda db: rows.read_glance(db, run_id))
        if found is None:
            raise RunNotFound(run_id)
        return found

    async def list_runs(self, query: RunQuery) -> Page[Run]:
        before = NEWEST if query.after is None else task_id_in(query.after)

        def work(db: sqlite3.Connection) -> tuple[list[Run], bool]:
            ids = rows.list_ids(db, query, before, query.page_size + 1)
            shown = rows.read_runs(db, ids[: query.page_size], whole=False)
            return shown, len(ids) > query.page_size

        runs, has_more = await self._tasks.read(work)
        return Page(runs, token_after(runs[-1].id) if has_more else None)

    async def count_states(self) -> Mapping[State, int]:
        def work(db: sqlite3.Connection) -> dict[State, int]:
            counted = db.execute("SELECT state, count(*) FROM runs WHERE doomed = 0 GROUP BY state")
            return {State(state): count for state, count in counted}

        return await self._tasks.read(work)

    async def count_live(self, owner: str) -> int:
        return await self._tasks.read(lambda db: rows.count_live(db, owner))

    async def request_cancel(self, run_id: str, reason: str) -> State:
        moment = self._tasks.now_micros()

        def work(db: sqlite3.Connection) -> State:
            found = rows.read_glance(db, run_id)
            if found is None:
                raise RunNotFound(run_id)
            if State.CANCELING not in RUN_TRANSITIONS[found.state]:
                return found.state
            db.execute("UPDATE runs SET state = ? WHERE id = ?", (State.CANCELING, run_id))
            rows.add_note(db, run_id, reason)
            notices.announce(db, notices.Change("run", run_id, State.CANCELING, found.state, 0, moment))
            return State.CANCELING

        state = await self._tasks.write(work)
        self._ring(run_id)
        return state

    async def doom(self, run_id: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            found = rows.read_glance(db, run_id)
            if found is None:
                raise RunNotFound(run_id)
            if found.state not in RUN_FINAL:
                raise RunNotOver(run_id, found.state)
            if user := db.execute(_USER, (run_id,)).fetchone():
                raise RunInUse(run_id, user[0])
            db.execute("UPDATE runs SET doomed = 1 WHERE id = ?", (run_id,))

        await self._tasks.write(work)
        self._tasks.news.ring(run_id)

    async def doom_old(self, ended_before: datetime, *, limit: int) -> int:
        old = (
            f"SELECT id FROM runs INDEXED BY runs_ended WHERE {RUN_ENDED} AND ended_at < ? AND NOT EXISTS ("
            "SELECT 1 FROM run_uses AS u JOIN runs AS r ON r.id = u.run_id WHERE u.used = runs.id"
            " AND r.doomed = 0) ORDER BY ended_at LIMIT ?"
        )
        bounds = (to_micros(ended_before), max(0, limit))

        def work(db: sqlite3.Connection) -> int:
            ids = db.execute(old, bounds).fetchall()
            db.executemany("UPDATE runs SET doomed = 1 WHERE id = ?", ids)
            return len(ids)

        return await self._tasks.write(work)

    async def read_log(self, run_id: str, name: RunLogName, *, offset: int, limit: int) -> LogPart:
        return await self._tasks.read(lambda db: rows.read_log(db, run_id, name, offset, limit))

    async def log_size(self, run_id: str, name: RunLogName) -> int:
        return await self._tasks.read(lambda db: rows.log_size(db, run_id, name))

    # -- steps

    async def list_steps(self, run_id: str, *, after: str = "", limit: int) -> list[StepRecord]:
        return await self._tasks.read(lambda db: rows.read_steps(db, run_id, after, limit))

    async def find_step(self, run_id: str, task_id: str) -> StepRecord | None:
        return await self._tasks.read(lambda db: rows.find_step(db, run_id, "task_id", task_id))

    async def find_step_by_key(self, run_id: str, key: str) -> StepRecord | None:
        return await self._tasks.read(lambda db: rows.find_step(db, run_id, "key", key))

    async def put_step(self, step: StepRecord, *, claim: Claim) -> StepRecord:
        return await self._put(step, claim, replace=False)

    async def replace_step(self, step: StepRecord, *, claim: Claim) -> None:
        await self._put(step, claim, replace=True)

    async def _put(self, step: StepRecord, claim: Claim, *, replace: bool) -> StepRecord:
        def work(db: sqlite3.Connection) -> StepRecord:
            claims.check_claim(db, claim)
            return rows.put_step(db, step, replace=replace)

        kept = await self._tasks.write(work)
        self._tasks.news.ring(step.run_id)
        return kept

    # -- the conductor's side

    async def list_to_do(self, *, limit: int) -> list[RunToDo]:
        moment = self._tasks.now_micros()
        return await self._tasks.read(lambda db: claims.list_to_do(db, moment, limit))

    async def tell_unclaimed(self, run_id: str, line: str) -> bool:
        moment = self._tasks.now_micros()

        def work(db: sqlite3.Connection) -> bool:
            if not claims.is_free(db, run_id, moment) or rows.has_note(db, run_id, line):
                return False
            rows.add_note(db, run_id, line)
            return True

        return await self._tasks.write(work)

    async def claim(
        self,
        owner: str,
        *,
        lease_s: float,
        new_limit: int,
        without: Collection[str] = (),
        base_url: str | None = None,
        reserved: int = 0,
    ) -> list[Run]:
        def work(db: sqlite3.Connection) -> list[Run]:
            moment, end = self._tasks.lease(lease_s)
            taken = claims.take_claims(db, owner, moment, end, new_limit, without, base_url, reserved)
            return rows.read_runs(db, taken)

        return await self._tasks.write(work)

    async def renew(self, owner: str, run_ids: Collection[str], *, lease_s: float) -> None:
        await self._tasks.write(
            lambda db: claims.extend_claims(db, owner, run_ids, self._tasks.lease(lease_s)[1])
        )

    async def held(self, owner: str) -> Mapping[str, State]:
        return await self._tasks.read(lambda db: claims.held(db, owner))

    async def release(self, owner: str) -> None:
        await self._tasks.write(lambda db: claims.drop_claims(db, owner))

    async def transition(
        self, run_id: str, to: State, *, claim: Claim, log: str = "", end: RunEnd | None = None
    ) -> Run:
        moment = self._tasks.now_micros()

        def work(db: sqlite3.Connection) -> Run:
            claims.check_claim(db, claim)
            current = State(db.execute("SELECT state FROM runs WHERE id = ?", (run_id,)).fetchone()[0])
            if to not in RUN_TRANSITIONS[current]:
                raise TransitionRefused(run_id, current, to, what="run")
            db.execute("UPDATE runs SET state = ? WHERE id = ?", (to, run_id))
            if to is State.INITIALIZING:
                db.execute("UPDATE runs SET started_at = ? WHERE id = ?", (moment, run_id))
            if to in RUN_FINAL:
                _write_end(db, run_id, end or RunEnd(), moment)
            if log:
                rows.add_note(db, run_id, log)
            notices.announce(db, notices.Change("run", run_id, to, current, 0, moment))
            return rows.read_runs(db, [run_id])[0]

        moved = await self._tasks.write(work)
        self._ring(run_id)
        return moved

    async def tell(self, line: str, *, claim: Claim) -> None:
        def work(db: sqlite3.Connection) -> None:
            claims.check_claim(db, claim)
            rows.add_note(db, claim.task_id, line)

        await self._tasks.write(work)

    async def append_log(self, name: RunLogName, data: bytes, *, claim: Claim) -> None:
        def work(db: sqlite3.Connection) -> None:
            claims.check_claim(db, claim)
            rows.append_log(db, claim.task_id, name, data)

        await self._tasks.write(work)
        self._tasks.news.ring(claim.task_id)

    async def remove(self, *, claim: Claim) -> None:
        def work(db: sqlite3.Connection) -> None:
            claims.check_claim(db, claim)
            for table in _TABLES:
                db.execute(f"DELETE FROM {table} WHERE run_id = ?", (claim.task_id,))
            notices.forget(db, claim.task_id)
            db.execute("DELETE FROM runs WHERE id = ? AND doomed = 1", (claim.task_id,))

        await self._tasks.write(work)

    # --

    def _ring(self, run_id: str) -> None:
        """The run is, or may be, in another state."""
        self._tasks.news.ring(run_id)
        self._tasks.notices.ring(run_id)


def _write_end(db: sqlite3.Connection, run_id: str, end: RunEnd, moment: int) -> None:
    db.execute(
        "UPDATE runs SET ended_at = ?, exit_code = ?, claim_owner = NULL, claim_expires_at = NULL"
        " WHERE id = ?",
        (moment, end.exit_code, run_id),
    )
    db.execute("UPDATE run_documents SET outputs = ? WHERE run_id = ?", (to_json(end.outputs), run_id))
