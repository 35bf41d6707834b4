"""The MongoDB store: tasks in a database that several servers may share.

Every write is acknowledged by the majority and journaled, every read sees only such writes. A server that
stands alone will do, as will a replica set: no change needs a transaction (`mongo_documents` says why).

How it is built: `mongo_connection` the client, `mongo_schema` collections, indexes and migrations,
`mongo_documents` tasks as documents, `mongo_clock` whose time counts, `mongo_creation`, `mongo_changes`,
`mongo_permits`, `mongo_claims`, `mongo_usage`, `mongo_counts`, `mongo_glimpses`, `mongo_lists`,
`mongo_logs`, `mongo_reports`, `mongo_notices` and `mongo_removal` the operations, `mongo_errors` what
failures mean.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import pymongo
from pymongo import AsyncMongoClient

from tesp_api.bell import Bell
from tesp_api.errors import ClaimLost, StoreUnavailable, TaskNotFound
from tesp_api.store import (
    mongo_changes,
    mongo_glimpses,
    mongo_lists,
    mongo_logs,
    mongo_permits,
    mongo_removal,
    mongo_reports,
    mongo_schema,
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
from tesp_api.store.gathering import Gathering
from tesp_api.store.glimpses import ListedTask, RecentChanges
from tesp_api.store.mongo_claims import MongoClaims
from tesp_api.store.mongo_clock import MongoClock
from tesp_api.store.mongo_connection import connect
from tesp_api.store.mongo_counts import MongoCounts
from tesp_api.store.mongo_creation import MongoCreation
from tesp_api.store.mongo_documents import (
    WITHOUT_THE_REST,
    Database,
    Document,
    from_micros,
    to_history,
    to_standing,
    to_task,
)
from tesp_api.store.mongo_errors import FOREIGN, translated
from tesp_api.store.mongo_logs import LogKey
from tesp_api.store.mongo_usage import MongoUsage, log_bytes_of
from tesp_api.store.outbox import Watch
from tesp_api.store.turns import EQUAL_SHARES, Shares
from tesp_api.store.usage import Cap, Usage
from tesp_api.tes.states import State
from tesp_api.tes.times import now

_NO_CHANGES = Changes()
_READS_AT_ONCE = 2
"""Questions for states on their way at one time; while they are, the next askers share one."""
_PATIENCE_S = 0.25


@dataclass(frozen=True, slots=True)
class _Opened:
    """What there is while the store is open."""

    client: AsyncMongoClient[Document]
    db: Database
    creation: MongoCreation
    usage: MongoUsage
    counts: MongoCounts
    claims: MongoClaims
    glances: Gathering[str, Glance | None]


class MongoTaskStore:
    """A `TaskStore` in `database` of the MongoDB at `url`, which may hold a password and is shown nowhere.

    The database server's time decides when leases end and dates the history, unless there is a `clock`.
    """

    def __init__(self, url: str, *, database: str, clock: Callable[[], datetime] | None = None) -> None:
        self.news = Bell()
        self.notices = Bell()
        self._url = url
        self._database = database
        self._clock = MongoClock(clock)
        self._opened: _Opened | None = None

    async def open(self) -> None:
        """See `TaskStore.open`. The claims of other servers, which may be alive, stay.

        Raises:
            StoreUnavailable: MongoDB does not answer.
            StoreError: the URL is wrong, or a newer TESP made the database, or something else did.
        """
        try:
            client = await connect(self._url)
        except FOREIGN as error:
            raise translated(error) from error
        try:
            db = client[self._database]
            # Those of a large database take a while. 0 is no limit; None would be the client's.
            with pymongo.timeout(0):
                await mongo_schema.prepare(db)
                await mongo_removal.finish_removals(db)
        except BaseException as error:
            await client.close()
            if isinstance(error, FOREIGN):
                raise translated(error) from error
            raise
        claims = MongoClaims(db.tasks, self._clock)
        read_glances = partial(mongo_changes.read_glances, db.tasks)
        glances = Gathering(read_glances, at_once=_READS_AT_ONCE, patience_s=_PATIENCE_S)
        usage = MongoUsage(db, self._clock)
        creation, counts = MongoCreation(db.tasks, usage), MongoCounts(db, self._clock)
        self._opened = _Opened(client, db, creation, usage, counts, claims, glances)

    async def aclose(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.counts.aclose()
            await opened.client.close()

    async def check(self) -> None:
        async with self._use() as opened:
            await opened.db.checks.update_one(
                {"_id": "check"}, [{"$set": {"checked_at": "$$NOW"}}], upsert=True
            )
            await opened.db.checks.find_one({"_id": "check"})

    # -- the API's side

    async def create(
        self,
        task: Task,
        *,
        once: OnceKey | None = None,
        caps: Sequence[Cap] = (),
        watch: Watch | None = None,
    ) -> str:
        async with self._use() as opened:
            created = await opened.creation.create(task, once, caps, watch)
        self.news.ring(created)
        if watch is not None:
            self.notices.ring(created)
        return created

    async def usage(self, owner: str | None) -> Usage:
        async with self._use() as opened:
            return await opened.usage.usage(owner)

    async def get(self, task_id: str) -> Task:
        async with self._use() as opened:
            found = await opened.db.tasks.find_one({"_id": task_id}, WITHOUT_THE_REST)
        if found is None or "state" not in found:  # a marker (`mongo_creation`) has none
            raise TaskNotFound(task_id)
        return to_task(found)

    async def get_state(self, task_id: str) -> State:
        return (await self.glance(task_id)).state

    async def glance(self, task_id: str) -> Glance:
        async with self._use() as opened:
            found = await opened.glances.add(task_id)
        if found is None:
            raise TaskNotFound(task_id)
        return found

    async def get_standing(self, task_id: str) -> Standing:
        async with self._use() as opened:
            found = await opened.db.tasks.find_one({"_id": task_id}, {"state": 1, "attempt": 1, "job": 1})
        if found is None or "state" not in found:
            raise TaskNotFound(task_id)
        return to_standing(found)

    async def list_tasks(self, query: TaskQuery) -> Page[Task]:
        async with self._use() as opened:
            page = await mongo_lists.read_page(opened.db.tasks, query, WITHOUT_THE_REST)
        return Page([to_task(found) for found in page.items], page.next_token)

    async def list_states(self, query: TaskQuery) -> Page[tuple[str, State]]:
        async with self._use() as opened:
            page = await mongo_lists.read_page(opened.db.tasks, query, mongo_lists.ONLY_STATES)
        return Page([(found["_id"], State(found["state"])) for found in page.items], page.next_token)

    async def read_listed(self, task_ids: Sequence[str]) -> list[ListedTask]:
        async with self._use() as opened:
            return await mongo_glimpses.read_listed(opened.db.tasks, task_ids)

    async def counts(self, owner: str | None, groups: Sequence[str] = ()) -> Mapping[State, int]:
        async with self._use() as opened:
            return await opened.counts.read(owner, groups)

    async def oldest_queued(self) -> str | None:
        async with self._use() as opened:
            return await mongo_glimpses.read_oldest_queued(opened.db.tasks)

    async def recent_changes(self, cursor: str | None) -> RecentChanges:
        async with self._use() as opened:
            return await mongo_glimpses.read_changes(opened.db, self._clock, cursor)

    async def request_cancel(self, task_id: str, reason: str) -> State:
        async with self._use() as opened:
            state = await mongo_changes.cancel(opened.db.tasks, self._clock, task_id, reason)
        self.news.ring(task_id)
        self.notices.ring(task_id)
        return state

    async def delete(self, task_id: str) -> None:
        async with self._use() as opened:
            await mongo_removal.delete_task(opened.db, task_id)
            opened.counts.forget()
        self.news.ring(task_id)

    async def purge(self, ended_before: datetime, *, limit: int) -> int:
        async with self._use() as opened:
            removed = await mongo_removal.purge_tasks(opened.db, ended_before, limit)
            if removed:
                opened.counts.forget()
        return removed

    async def history(self, task_id: str) -> list[HistoryEntry]:
        async with self._use() as opened:
            found = await opened.db.tasks.find_one({"_id": task_id}, {"history": 1})
        return to_history(found) if found is not None and "history" in found else []

    async def dated_history(self, task_id: str) -> tuple[list[HistoryEntry], datetime]:
        wanted = {"history": 1, "now": {"$add": [self._clock.now(), 0]}}
        async with self._use() as opened:
            found = await opened.db.tasks.find_one({"_id": task_id}, wanted)
        if found is None or "history" not in found:
            return [], now()
        return to_history(found), from_micros(found["now"])

    async def read_log(
        self, task_id: str, attempt: int, executor: int, stream: Stream, *, offset: int, limit: int
    ) -> LogPart:
        key = LogKey(task_id, attempt, executor, stream)
        async with self._use() as opened:
            return await mongo_logs.read_part(opened.db.log_chunks, key, offset, limit)

    async def log_size(self, task_id: str, attempt: int, executor: int, stream: Stream) -> int:
        key = LogKey(task_id, attempt, executor, stream)
        async with self._use() as opened:
            return await mongo_logs.read_size(opened.db.log_chunks, key)

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
        async with self._use() as opened:
            await opened.creation.settle()  # what a client was told is not there must not run
            return await opened.claims.take(
                owner, lease_s=lease_s, new_limit=new_limit, shares=shares, server=server, away_s=away_s
            )

    async def renew(self, owner: str, *, lease_s: float) -> Mapping[str, State]:
        async with self._use() as opened:
            return await opened.claims.extend(owner, lease_s=lease_s)

    async def list_canceling(self, owner: str) -> frozenset[str]:
        async with self._use() as opened:
            return await opened.claims.list_canceling(owner)

    async def release(self, owner: str) -> None:
        async with self._use() as opened:
            await opened.claims.drop(owner)

    async def release_server(self, server: str) -> None:
        async with self._use() as opened:
            await opened.claims.drop_server(server)

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
        wanted = changes or _NO_CHANGES
        async with self._use() as opened:
            moved = await mongo_changes.move(
                opened.db.tasks, self._clock, to, wanted, claim=claim, reason=reason
            )
        self.news.ring(task_id)
        if moved.watched:
            self.notices.ring(task_id)
        return moved

    async def update(
        self, task_id: str, changes: Changes, *, claim: Claim, reason: str | None = None
    ) -> Task:
        _check_same_task(task_id, claim)
        async with self._use() as opened:
            changed = await mongo_changes.change(
                opened.db.tasks, self._clock, changes, claim=claim, reason=reason
            )
        self.news.ring(task_id)
        return changed

    async def append_log(
        self, claim: Claim, attempt: int, executor: int, stream: Stream, offset: int, data: bytes
    ) -> None:
        key = LogKey(claim.task_id, attempt, executor, stream)
        async with self._use() as opened:
            await mongo_changes.check_claim(opened.db.tasks, claim)
            await mongo_logs.write_chunk(opened.db.log_chunks, key, offset, data, claim)
        self.news.ring(claim.task_id)

    async def drop_log(
        self, claim: Claim, attempt: int, executor: int, stream: Stream, start: int, end: int
    ) -> None:
        key = LogKey(claim.task_id, attempt, executor, stream)
        async with self._use() as opened:
            await mongo_changes.check_claim(opened.db.tasks, claim)
            await mongo_logs.drop_chunks(opened.db.log_chunks, key, start, end, claim)

    # -- what workers ask and send by themselves

    async def permit(self, task_id: str, attempt: int, worker: str, step: PermitStep) -> None:
        async with self._use() as opened:
            await mongo_permits.grant(opened.db.tasks, task_id, attempt, worker, step)

    async def put_report(
        self, job_id: str, name: str, data: bytes, *, stay: timedelta = REPORTS_STAY
    ) -> None:
        async with self._use() as opened:
            await mongo_reports.put(opened.db.reports, job_id, name, data, stay)

    async def read_report(self, job_id: str, name: str) -> bytes | None:
        async with self._use() as opened:
            return await mongo_reports.read(opened.db.reports, job_id, name)

    async def drop_reports(self, job_id: str, name: str | None = None) -> None:
        async with self._use() as opened:
            await mongo_reports.drop(opened.db.reports, job_id, name)

    # -- the end

    async def retire(self, claim: Claim) -> None:
        async with self._use() as opened:
            log_bytes = await log_bytes_of(opened.db.log_chunks, claim.task_id)
            job_id = await mongo_changes.end_life(opened.db.tasks, claim, log_bytes)
            if job_id is not None:
                await mongo_reports.drop(opened.db.reports, job_id, None)

    # --

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[_Opened]:
        """The open store, for one operation; the driver's errors become ours.

        A cancellation that the driver swallowed is raised again: it sends by `asyncio.wait_for`, which until
        Python 3.12 loses one that comes when the sending is just done. Source: CPython issue 86296.
        """
        if self._opened is None:
            raise StoreUnavailable("the store is not open")
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task else 0
        try:
            yield self._opened
        except FOREIGN as error:
            raise translated(error) from error
        finally:
            if task and task.cancelling() > cancelled_before:
                raise asyncio.CancelledError

    # For the other stores of this database.
    use = _use

    @property
    def clock(self) -> MongoClock:
        """Whose time counts."""
        return self._clock


def _check_same_task(task_id: str, claim: Claim) -> None:
    if claim.task_id != task_id:
        raise ClaimLost(task_id)
