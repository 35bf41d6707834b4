"""The store's protocol: the truth about every task, and the only writer of states.

The API creates tasks, reads them and asks for their cancellation; the runner claims them, moves them
through their states, and retires them when nothing is left to do. Both may be several processes at once
(where the database allows it), so every change by the runner carries its claim and is refused, with
`ClaimLost`, once another process has taken the task over.

All methods raise `StoreUnavailable` while the database does not answer. Nothing that a method has
returned from is ever lost, whatever dies: writes are durable before they return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar

from tesp_api.bell import Bell
from tesp_api.store.glimpses import ListedTask, RecentChanges
from tesp_api.store.outbox import Watch
from tesp_api.store.turns import EQUAL_SHARES, Shares
from tesp_api.store.usage import Cap, Usage
from tesp_api.tes.ids import first_id_at
from tesp_api.tes.states import State

GROUP_TAG = "\0group"
"""The key of the tags by which stores find a group's tasks; no client's tag can have it, because of the
NUL."""

NEWEST = "~"
"""Sorts behind every id."""

PAGE_DOCUMENTS_BYTES = 16 * 1024**2
"""As JSON; 256 tasks, each with as much content as a request may have, would come to 2 GB."""

REPORTS_STAY = timedelta(days=7)
"""They can be had from the site anew; a server that takes them in is seldom away for so long afterwards."""

Stream = Literal["stdout", "stderr", "events", "gateway", "files"]
"""Beside the executors' outputs, an attempt has logs of one JSON object a line, kept as those of executor 0:
`events` are the worker's, `gateway` those of the server that moves files for it, `files` what was moved."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """The Pulsar job of a task's present attempt; persisted before the job is submitted.

    `server` is the one whose embedded Pulsar has it: no other one reaches it. `asks` says that its worker
    runs nothing without a start permit, so that it is known whether it has been let to.
    """

    destination: str
    job_id: str
    server: str = ""
    asks: bool = False


PermitStep = Literal["start", "commit"]
"""A worker asks before its first executor, and before it sends its outputs."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What has been granted for a task's present attempt, to one `worker`; or that nothing is any more."""

    worker: str
    step: Literal["start", "commit", "revoked"]


@dataclass(frozen=True, slots=True)
class Revocation:
    """From now on no permit of the task's attempt is granted.

    With `unless_begun`, only if no other worker than `worker` has its start permit: what that one says, or
    that there was none, is then the proof that nothing has run.
    """

    unless_begun: bool = False
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to drive a task until `expires_at`. `epoch` grows with every new claim of the task."""

    task_id: str
    owner: str
    epoch: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a task's life: the state it was in from `at` on, and why."""

    at: datetime
    state: State
    attempt: int
    reason: str


CREATED_BY = "created by request "
"""So begins the line of a task's warnings that names the request which created it."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as stored. Ids sort by age (`tes.ids.new_task_id`): lists and claims go by them.

    `request` is the client's task document as validated (TES JSON: no nulls, no read-only fields).
    `logs` holds one tesTaskLog per attempt, in TES JSON, without the executors' stdout and stderr,
    which live beside the task (`read_log`). `attempt` is 0 until a first job has been recorded.
    `live` says that the runner still has something to do for it, be it only cleaning up.
    `warnings` are what creation said about the document (a backend parameter left out); they are shown
    among the system_logs, and never change. `sealed` holds the logins that were split off its URLs,
    encrypted (`storage.sealing`); "" if there were none, and once the task is retired.
    `groups` are those with which the owner shares it; they never change, and the owner neither. `watched`
    says whether somebody is told of its states (`store.outbox`).
    """

    id: str
    owner: str
    state: State
    created_at: datetime
    request: Mapping[str, Any]
    logs: Sequence[Mapping[str, Any]] = ()
    attempt: int = 0
    job: Job | None = None
    live: bool = True
    claim: Claim | None = None
    warnings: Sequence[str] = ()
    sealed: str = ""
    permit: Permit | None = None
    groups: Sequence[str] = ()
    watched: bool = False

    @property
    def request_id(self) -> str:
        """The name of the request that created the task; "" if that is not known."""
        told = (line for line in self.warnings if line.startswith(CREATED_BY))
        return next(told, "").removeprefix(CREATED_BY)


@dataclass(frozen=True, slots=True)
class Glance:
    """What is asked most often about a task: its state, and whose it is."""

    state: State
    owner: str
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a task stands, without its documents."""

    state: State
    attempt: int
    job: Job | None


@dataclass(frozen=True, slots=True)
class OnceKey:
    """A client's promise that requests with this `key` are one and the same: `body_digest` checks it."""

    key: str
    body_digest: str


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks to list; everything that is set must hold. An empty query lists all.

    `tags` are (key, value) pairs: an empty value matches any value, but the key must exist.
    `group` is one with which the task is shared, `destination` where its last attempt went. `after` is a page
    token from an earlier answer to the same query. `created_from` is in the time asked for, `created_before`
    is not; both go by the tasks' ids, which know milliseconds.
    """

    states: frozenset[State] | None = None
    name_prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    owner: str | None = None
    page_size: int = 256
    after: str | None = None
    group: str | None = None
    destination: str = ""
    created_from: datetime | None = None
    created_before: datetime | None = None

    @property
    def id_from(self) -> str:
        """The ids asked for are not below it."""
        return "" if self.created_from is None else first_id_at(self.created_from)

    @property
    def id_before(self) -> str:
        """The ids asked for are below it."""
        return NEWEST if self.created_before is None else first_id_at(self.created_before)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, newest first; `next_token` is None on the last page, and only there.

    A page may be shorter than asked for, or empty, and not be the last: where the filters are each common
    but rarely true together, a store stops looking after a small multiple of the page (never before it has
    looked at 1,000 tasks), and the next page goes on from there. One of whole tasks also ends before the task
    with which its documents would come to more than `PAGE_DOCUMENTS_BYTES`, but never before its first.
    """

    items: list[T]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class LogPart:
    """A piece of an executor's output: `data` starts at byte `offset` of all that was written."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What the runner writes in the same step as a transition; None leaves a thing as it is.

    `log` replaces the tesTaskLog of the task's attempt (appended if the attempt has none yet).
    A `job` with a new id begins a new attempt when `attempt` is given with it; it has no permit yet.
    """

    attempt: int | None = None
    job: Job | None = None
    log: Mapping[str, Any] | None = None
    revokes: Revocation | None = None


class TaskStore(Protocol):
    """Keeps tasks, their history and their logs. Safe to use from many tasks of an event loop at once.

    `news` is rung after every write of this process that clients can see, with the id of the task or the run;
    `notices` after one that may have put something about it into the outbox.
    """

    news: Bell
    notices: Bell

    async def open(self) -> None:
        """Connect, and create or check the schema. Called once, before anything else.

        Raises:
            DataFolderInUse: another process owns an embedded store's folder.
        """

    async def aclose(self) -> None:
        """Finish what is being written and let go of the database."""

    async def check(self) -> None:
        """Return if the store can read and write now; raise `StoreUnavailable` otherwise."""

    # -- the API's side

    async def create(
        self,
        task: Task,
        *,
        once: OnceKey | None = None,
        caps: Sequence[Cap] = (),
        watch: Watch | None = None,
    ) -> str:
        """Store a new task, QUEUED, with its first history entry ("created", at `created_at`).

        Returns the id of the stored task: the given one's, or with `once` that of the task which the
        same owner has created under the same key before; of callers at the same time one creates.
        A key is remembered as long as its task is stored.

        Of `task`, what only the runner writes (attempt, job, logs, claim) is not looked at. `watch` says who
        is told of its states, beginning with this one.
        A task with the same id is left untouched and counts as created: a caller that does not know
        whether its first try arrived may simply try again. A store whose answer does not arrive asks
        for the task by its id before it raises, so that `StoreUnavailable` means: not stored, as far
        as can be known.

        `caps` are looked at for a task that is new, in the same step: of callers at the same time, on
        whatever servers, no more are let through than there is room for. What is counted of output may be
        some seconds old, and be without that of tasks that are still live.

        Raises:
            KeyReused: the key belongs to a task that was created from another body.
            LimitReached: one of `caps` leaves no room.
        """

    async def usage(self, owner: str | None) -> Usage:
        """What an owner has, or None for all owners together; some seconds old at most, or some more where
        it took long to count. Output of tasks that are still live may be left out."""

    async def get(self, task_id: str) -> Task:
        """The task as it is now.

        Raises:
            TaskNotFound: there is none with this id.
        """

    async def get_state(self, task_id: str) -> State:
        """The task's state alone (MINIMAL view): reads no document.

        Raises:
            TaskNotFound: there is none with this id.
        """

    async def glance(self, task_id: str) -> Glance:
        """The task's state and whose it is: reads no document.

        Raises:
            TaskNotFound: there is none with this id.
        """

    async def get_standing(self, task_id: str) -> Standing:
        """The task's state, attempt and job alone: reads no document.

        Raises:
            TaskNotFound: there is none with this id.
        """

    async def list_tasks(self, query: TaskQuery) -> Page[Task]:
        """One page of the tasks that match, newest first; stable while tasks are added.

        Raises:
            InvalidRequest: `after` is not a token that this store gave out.
        """

    async def list_states(self, query: TaskQuery) -> Page[tuple[str, State]]:
        """Like `list_tasks`, but only ids and states (MINIMAL view): reads no documents."""

    async def read_listed(self, task_ids: Sequence[str]) -> list[ListedTask]:
        """The rows of lists of these tasks, in this order; what has been deleted is left out.

        A store may read whole documents for them, and stops before they come to more than
        `PAGE_DOCUMENTS_BYTES`, but never before the first: the rest is to be asked for again.
        """

    async def counts(self, owner: str | None, groups: Sequence[str] = ()) -> Mapping[State, int]:
        """How many tasks are in each state, of those of `owner` or shared with one of `groups`, or of all.

        States without tasks are left out. No task is looked at for it, but for those that have not ended and
        those that ended lately. What is deleted may be counted for some time longer where several servers
        share the store.
        """

    async def oldest_queued(self) -> str | None:
        """The id of the oldest task that is QUEUED, be it for want of a place or with a job that waits at its
        site; None if there is none. One look into an index."""

    async def recent_changes(self, cursor: str | None) -> RecentChanges:
        """Which tasks have changed their state since `cursor` was given out; None begins now.

        A change may be told more than once, and of several in quick succession the last one alone.
        """

    async def request_cancel(self, task_id: str, reason: str) -> State:
        """Move the task to CANCELING unless it has ended or is being canceled; return its state now.

        Raises:
            TaskNotFound: there is none with this id.
        """

    async def delete(self, task_id: str) -> None:
        """Remove a task with its history, logs and key. Only one that has ended and is not `live`.

        A step of a workflow run stays until that has ended: the run would have it done once more.

        Raises:
            TaskNotFound: there is none with this id.
            TaskNotOver: it has not ended, or is still being cleaned up.
            TaskInUse: it is a step of a run that has not ended.
        """

    async def purge(self, ended_before: datetime, *, limit: int) -> int:
        """Delete up to `limit` tasks that ended before that time, as `delete` would; returns how many.

        Oldest ends first. Safe to call from several processes at once.
        """

    async def history(self, task_id: str) -> list[HistoryEntry]:
        """The task's whole life, oldest first; empty for an unknown task."""

    async def dated_history(self, task_id: str) -> tuple[list[HistoryEntry], datetime]:
        """The task's history, and what time it is by the clock that dates it: those of servers differ."""

    async def read_log(
        self, task_id: str, attempt: int, executor: int, stream: Stream, *, offset: int, limit: int
    ) -> LogPart:
        """Up to `limit` bytes of an executor's output from `offset` on; less or nothing at the end.

        Where bytes were dropped from the middle of a long log, the part returned starts at the first
        byte kept at or after `offset`, so `LogPart.offset` may be larger than what was asked for.
        A part never spans such a gap: the bytes after it come with the next call. Where nothing is left
        to read, `LogPart.offset` is what was asked for. A negative `offset` counts from the end.
        """

    async def log_size(self, task_id: str, attempt: int, executor: int, stream: Stream) -> int:
        """Bytes written so far, dropped ones included; 0 for a log that does not exist."""

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
        """Claim tasks that are live and that nobody holds (never claimed, released, or lease expired).

        At most `new_limit` of the QUEUED ones without a job, and beside them all others: those that have a
        job, are being canceled, or have ended but are not yet retired. Safe to call from several processes
        at once: no task is claimed twice. A lease has expired when its `expires_at` is reached (now >=
        expires_at).

        The owners of the new ones take turns (`Turns`), each with their oldest first, by the `shares` that
        they have already: of a user's long queue no more is looked at than is claimed. With a `new_limit`
        all expired claims of such tasks end, also of those that are not taken.

        `server` is the caller's: what has a job in another server's embedded Pulsar is claimed only when
        that one's claim has been over, expired or released, for `away_s` more. An embedded store has one
        server, and looks at neither.

        Opening an embedded store voids all claims: their owner is dead, or the store could not be opened.
        Claims come and go without a line in the history.
        """

    async def renew(self, owner: str, *, lease_s: float) -> Mapping[str, State]:
        """Extend all claims that `owner` still holds, also expired ones that nobody has ended or taken over.

        Returns the tasks still held, with their states: how a runner learns of a cancel asked for
        elsewhere, and of claims that it has lost.
        """

    async def list_canceling(self, owner: str) -> frozenset[str]:
        """The tasks whose claims are `owner`'s, expired or not, and whose cancel was asked for.

        No documents are looked at but those of tasks that are being canceled, whoever holds them.
        """

    async def release(self, owner: str) -> None:
        """Give up all claims of `owner`, so that the next process need not wait for the leases to end."""

    async def release_server(self, server: str) -> None:
        """Give up the claims of all owners whose names begin with `server` and a colon: dead processes."""

    async def transition(
        self,
        task_id: str,
        to: State,
        *,
        claim: Claim,
        reason: str,
        changes: Changes | None = None,
    ) -> Task:
        """Move the task to `to`, record it in the history, apply `changes`; all or nothing.

        Raises:
            TransitionRefused: the table does not allow it from the task's present state.
            ClaimLost: `claim` is no longer the task's claim.
            AttemptBegun: as `changes.revokes` says.
        """

    async def update(
        self, task_id: str, changes: Changes, *, claim: Claim, reason: str | None = None
    ) -> Task:
        """Apply `changes` without a change of state; with `reason`, add a history entry saying so.

        Raises:
            ClaimLost: `claim` is no longer the task's claim.
            AttemptBegun: as `changes.revokes` says.
        """

    async def append_log(
        self, claim: Claim, attempt: int, executor: int, stream: Stream, offset: int, data: bytes
    ) -> None:
        """Store `data` as the bytes of a log from `offset` on.

        Repeating a part is harmless: at the same offset the longer data wins, so a growing chunk can
        be written again and again. `offset` is always the start of a chunk, chunks never overlap.

        Raises:
            ClaimLost: `claim` is no longer the task's claim.
        """

    async def drop_log(
        self, claim: Claim, attempt: int, executor: int, stream: Stream, start: int, end: int
    ) -> None:
        """Forget the chunks of a log that lie wholly between the bytes `start` and `end`.

        The size of the log stays.

        Raises:
            ClaimLost: `claim` is no longer the task's claim.
        """

    # -- what workers ask and send by themselves

    async def permit(self, task_id: str, attempt: int, worker: str, step: PermitStep) -> None:
        """Let a worker go on, in one step: of an attempt that lives, and that is no other worker's.

        The start permit is for one worker, who may ask again; the commit permit is for that same one.

        Raises:
            PermitRefused: the text says why.
            TaskNotFound: there is none with this id.
        """

    async def put_report(
        self, job_id: str, name: str, data: bytes, *, stay: timedelta = REPORTS_STAY
    ) -> None:
        """Keep a small file that came from a site, in place of an earlier one of that job and name.

        It stays until it is dropped, or until the task whose job it is retires, or for `stay` after
        it was last put, so that nothing stays for ever of jobs that no task has any more. What is over goes
        with a later one, or within minutes.
        """

    async def read_report(self, job_id: str, name: str) -> bytes | None:
        """The file as it was last put; None if there is none."""

    async def drop_reports(self, job_id: str, name: str | None = None) -> None:
        """Forget one of a job's files, or all of them; does nothing if there are none."""

    # -- the end

    async def retire(self, claim: Claim) -> None:
        """Say that nothing is left to do: the task is no longer live, and the claim ends.

        Its job is forgotten, and so are the job's reports and what was sealed.

        Raises:
            ClaimLost: `claim` is no longer the task's claim.
            TaskNotOver: the task has not ended.
        """
