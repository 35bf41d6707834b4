"""The embedded store: tasks in one SQLite file in the data folder, which one process owns at a time.

How it is built: `sqlite_schema` the tables, `sqlite_writer` one thread that commits in groups,
`sqlite_readers` a few that read, `sqlite_rows` tasks as rows, `sqlite_creation`, `sqlite_claims`,
`sqlite_changes`, `sqlite_permits`, `sqlite_logs`, `sqlite_reports`, `sqlite_notices` and `sqlite_removal` the
statements,
`sqlite_usage` and `sqlite_counts` what there is, `sqlite_glimpses` little of many tasks, `sqlite_lists` with
`sqlite_filters` and `sqlite_walks` the lists, `sqlite_errors` what failures mean.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from tesp_api.bell import Bell
from tesp_api.errors import ClaimLost, LimitReached, StoreError, StoreUnavailable, TaskNotFound
from tesp_api.store import (
    sqlite_changes,
    sqlite_claims,
    sqlite_counts,
    sqlite_creation,
    sqlite_glimpses,
    sqlite_lists,
    sqlite_logs,
    sqlite_notices,
    sqlite_permits,
    sqlite_removal,
    sqlite_reports,
    sqlite_rows,
    sqlite_run_claims,
    sqlite_usage,
)
from tesp_api.store.base import (
    REPORTS_STAY,
    Changes,
    Claim,
    Glance,
    HistoryEntry,
    LogPart,
    OnceKey,
    Page,
    PermitStep,
    Standing,
    Stream,
    Task,
    TaskQuery,
)
from tesp_api.store.file_swap import half_restored
from tesp_api.store.folder_lock import FolderLock
from tesp_api.store.gathering import Gathering
from tesp_api.store.glimpses import ListedTask, RecentChanges, Recents
from tesp_api.store.outbox import Watch
from tesp_api.store.sqlite_errors import translated
from tesp_api.store.sqlite_logs import LogKey
from tesp_api.store.sqlite_readers import SqliteReaders
from tesp_api.store.sqlite_rows import to_micros
from tesp_api.store.sqlite_schema import connect, migrate
from tesp_api.store.sqlite_writer import SqliteWriter
from tesp_api.store.turns import EQUAL_SHARES, Shares
from tesp_api.store.usage import Cap, Usage
from tesp_api.tes.states import State
from tesp_api.tes.times import SteadyClock, now

DATABASE = "tesp.sqlite3"

T = TypeVar("T")
_NO_CHANGES = Changes()
_PATIENCE_S = 0.25


class SqliteTaskStore:
    """A `TaskStore` in `folder`, which is created, for its owner alone, if there is none.

    `clock` decides when leases end and dates the history. Without one of the caller's, leases are measured by
    a clock that nobody sets, since no other process ever looks at them.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = now) -> None:
        self.news = Bell()
        self.notices = Bell()
        self._recents: Recents[int] = Recents()
        self._folder = folder
        self._clock = clock
        self._lease_clock = SteadyClock() if clock is now else clock
        self._lock = FolderLock(folder)
        self._writer: SqliteWriter | None = None
        self._readers: SqliteReaders | None = None
        # The way to a thread and back costs more than the look itself: callers at the same time share it.
        self._glances = Gathering(self._read_glances, at_once=2, patience_s=_PATIENCE_S)

    async def open(self) -> None:
        """See `TaskStore.open`.

        Raises:
            DataFolderInUse: another process owns the folder.
            StoreError: the folder cannot be used, or a newer TESP made the database in it.
        """
        database = self._folder / DATABASE
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise StoreError(f"the data folder {self._folder} cannot be used: {error}") from error
        if fault := half_restored(self._folder):
            self._lock.release()
            raise StoreError(fault)
        try:
            self._writer = SqliteWriter(_connect_and_prepare(database))
            self._readers = SqliteReaders(database)
        except (sqlite3.Error, StoreError) as error:
            await self.aclose()
            raise translated(error) from error

    async def aclose(self) -> None:
        if self._readers is not None:
            await self._readers.aclose()
        if self._writer is not None:
            await self._writer.aclose()
        self._lock.release()

    async def check(self) -> None:
        moment = to_micros(self._clock())
        await self._write(lambda db: db.execute("INSERT OR REPLACE INTO checks VALUES (1, ?)", (moment,)))
        await self._read(lambda db: db.execute("SELECT checked_at FROM checks").fetchone())

    # -- the API's side

    async def create(
        self,
        task: Task,
        *,
        once: OnceKey | None = None,
        caps: Sequence[Cap] = (),
        watch: Watch | None = None,
    ) -> str:
        outcome = await self._write(lambda db: sqlite_creation.create(db, task, once, caps, watch))
        if isinstance(outcome, LimitReached):
            raise outcome
        if outcome == task.id:
            self._changed(task.id, to_micros(task.created_at), announced=watch is not None)
        return outcome

    async def usage(self, owner: str | None) -> Usage:
        return await self._read(lambda db: sqlite_usage.read_usage(db, owner))

    async def get(self, task_id: str) -> Task:
        found = await self._read(lambda db: sqlite_rows.read_tasks(db, [task_id]))
        if not found:
            raise TaskNotFound(task_id)
        return found[0]

    async def get_state(self, task_id: str) -> State:
        return (await self.glance(task_id)).state

    async def glance(self, task_id: str) -> Glance:
        found = await self._glances.add(task_id)
        if found is None:
            raise TaskNotFound(task_id)
        return found

    async def get_standing(self, task_id: str) -> Standing:
        standing = await self._read(lambda db: sqlite_rows.read_standing(db, task_id))
        if standing is None:
            raise TaskNotFound(task_id)
        return standing

    async def list_tasks(self, query: TaskQuery) -> Page[Task]:
        return await self._read(lambda db: sqlite_lists.read_whole_page(db, query))

    async def list_states(self, query: TaskQuery) -> Page[tuple[str, State]]:
        return await self._read(lambda db: sqlite_lists.read_page(db, query))

    async def read_listed(self, task_ids: Sequence[str]) -> list[ListedTask]:
        return await self._read(lambda db: sqlite_glimpses.read_listed(db, task_ids))

    async def counts(self, owner: str | None, groups: Sequence[str] = ()) -> Mapping[State, int]:
        return await self._read(lambda db: sqlite_counts.read_counts(db, owner, groups))

    async def oldest_queued(self) -> str | None:
        return await self._read(sqlite_counts.read_oldest_queued)

    async def recent_changes(self, cursor: str | None) -> RecentChanges:
        moments, here, missed = self._recents.since(cursor)
        if not moments:
            return RecentChanges([], here, missed)
        changes = await self._read(lambda db: sqlite_glimpses.read_changed(db, moments))
        return RecentChanges(changes, here, missed)

    async def request_cancel(self, task_id: str, reason: str) -> State:
        at = to_micros(self._clock())
        state = await self._write(lambda db: sqlite_changes.cancel(db, task_id, reason, at))
        self._changed(task_id, at, announced=True)
        return state

    async def delete(self, task_id: str) -> None:
        await self._write(lambda db: sqlite_removal.delete(db, task_id))
        self.news.ring(task_id)

    async def purge(self, ended_before: datetime, *, limit: int) -> int:
        before = to_micros(ended_before)
        return await self._write(lambda db: sqlite_removal.purge(db, before, limit))

    async def history(self, task_id: str) -> list[HistoryEntry]:
        return await self._read(lambda db: sqlite_rows.read_history(db, task_id))

    async def dated_history(self, task_id: str) -> tuple[list[HistoryEntry], datetime]:
        return await self.history(task_id), self._clock()

    async def read_log(
        self, task_id: str, attempt: int, executor: int, stream: Stream, *, offset: int, limit: int
    ) -> LogPart:
        key = LogKey(task_id, attempt, executor, stream)
        return await self._read(lambda db: sqlite_logs.read_part(db, key, offset, limit))

    async def log_size(self, task_id: str, attempt: int, executor: int, stream: Stream) -> int:
        key = LogKey(task_id, attempt, executor, stream)
        return await self._read(lambda db: sqlite_logs.read_size(db, key))

    # -- the runner's side

    async def claim(
        self,
        owner: str,
        *,
        lease_s: float,
        new_limit: int,
        shares: Shares = EQUAL_SHARES,
        server: str = "",
        away_s: float = 0.0,
    ) -> list[Task]:
        def work(db: sqlite3.Connection) -> list[Task]:
            moment, end = self._lease(lease_s)
            return sqlite_claims.take_claims(db, owner, moment, end, new_limit, shares)

        return await self._write(work)

    async def renew(self, owner: str, *, lease_s: float) -> Mapping[str, State]:
        return await self._write(lambda db: sqlite_claims.extend_claims(db, owner, self._lease(lease_s)[1]))

    async def list_canceling(self, owner: str) -> frozenset[str]:
        return await self._read(lambda db: sqlite_claims.read_canceling(db, owner))

    async def release(self, owner: str) -> None:
        await self._write(lambda db: sqlite_claims.drop_claims(db, owner))

    async def release_server(self, server: str) -> None:
        await self._write(lambda db: sqlite_claims.drop_claims_of_server(db, server))

    async def transition(
        self,
        task_id: str,
        to: State,
        *,
        claim: Claim,
        reason: str,
        changes: Changes | None = None,
    ) -> Task:
        _check_same_task(task_id, claim)
        moment = to_micros(self._clock())
        moved = await self._write(
            lambda db: sqlite_changes.move(
                db, to, changes or _NO_CHANGES, claim=claim, reason=reason, now=moment
            )
        )
        self._changed(task_id, moment, announced=moved.watched)
        return moved

    async def update(
        self, task_id: str, changes: Changes, *, claim: Claim, reason: str | None = None
    ) -> Task:
        _check_same_task(task_id, claim)
        moment = to_micros(self._clock())
        changed = await self._write(
            lambda db: sqlite_changes.change(db, changes, claim=claim, reason=reason, now=moment)
        )
        self.news.ring(task_id)
        return changed

    async def append_log(
        self, claim: Claim, attempt: int, executor: int, stream: Stream, offset: int, data: bytes
    ) -> None:
        key = LogKey(claim.task_id, attempt, executor, stream)

        def work(db: sqlite3.Connection) -> None:
            sqlite_claims.check_claim(db, claim)
            sqlite_logs.write_chunk(db, key, offset, data)

        await self._write(work)
        self.news.ring(claim.task_id)

    async def drop_log(
        self, claim: Claim, attempt: int, executor: int, stream: Stream, start: int, end: int
    ) -> None:
        key = LogKey(claim.task_id, attempt, executor, stream)

        def work(db: sqlite3.Connection) -> None:
            sqlite_claims.check_claim(db, claim)
            sqlite_logs.drop_chunks(db, key, start, end)

        await self._write(work)

    # -- what workers ask and send by themselves

    async def permit(self, task_id: str, attempt: int, worker: str, step: PermitStep) -> None:
        await self._write(lambda db: sqlite_permits.grant(db, task_id, attempt, worker, step))

    async def put_report(
        self, job_id: str, name: str, data: bytes, *, stay: timedelta = REPORTS_STAY
    ) -> None:
        too_old = self._clock() - REPORTS_STAY
        put_at = to_micros(too_old + stay)  # earlier than it is, by what it is to stay less
        await self._write(
            lambda db: sqlite_reports.put(db, job_id, name, data, put_at=put_at, too_old=to_micros(too_old))
        )

    async def read_report(self, job_id: str, name: str) -> bytes | None:
        return await self._read(lambda db: sqlite_reports.read(db, job_id, name))

    async def drop_reports(self, job_id: str, name: str | None = None) -> None:
        await self._write(lambda db: sqlite_reports.drop(db, job_id, name))

    # -- the end

    async def retire(self, claim: Claim) -> None:
        await self._write(lambda db: sqlite_changes.end_life(db, claim))

    # --

    def _changed(self, task_id: str, at: int, *, announced: bool) -> None:
        """The task is, or may be, in another state since then, and that is or may be in the outbox."""
        self._recents.add(task_id, at)
        self.news.ring(task_id)
        if announced:
            self.notices.ring(task_id)

    def _lease(self, lease_s: float) -> tuple[int, int]:
        """Now and the end of a lease that begins now, in microseconds; asked for as late as possible."""
        moment = self._lease_clock()
        return to_micros(moment), to_micros(moment + timedelta(seconds=lease_s))

    async def _read_glances(self, ids: list[str]) -> list[Glance | None]:
        return await self._read(lambda db: [sqlite_rows.read_glance(db, task_id) for task_id in ids])

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._writer is None:
            raise StoreUnavailable("the store is not open")
        return await self._writer.run(work)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            raise StoreUnavailable("the store is not open")
        return await self._readers.run(work)

    # For the other stores of this database.
    write = _write
    read = _read
    lease = _lease

    def now_micros(self) -> int:
        """The time that dates changes."""
        return to_micros(self._clock())


def _connect_and_prepare(database: Path) -> sqlite3.Connection:
    """The writing connection, upon the present schema, with nobody's claims left in the database."""
    connection = connect(database)
    try:
        migrate(connection)
        sqlite_claims.drop_claims(connection)
        sqlite_run_claims.drop_claims(connection)
        sqlite_notices.make_all_due(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_same_task(task_id: str, claim: Claim) -> None:
    if claim.task_id != task_id:
        raise ClaimLost(task_id)
