"""The protocol of the store of workflow runs, which lies in the database of the tasks.

The API creates runs, reads them, asks for their cancellation and for their removal; the conductor of one
server claims them, has them expanded, and writes their end. As with tasks, every change by a conductor
carries its claim, and is refused with `ClaimLost` once another one has taken the run over.

All methods raise `StoreUnavailable` while the database does not answer. Writes are durable before they
return.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from tesp_api.errors import LimitReached
from tesp_api.store.base import Claim, LogPart, OnceKey, Page
from tesp_api.store.outbox import Watch
from tesp_api.tes.states import State

RunLogName = Literal["stdout", "stderr"]

STEPS_PAGE_MAX = 1000
_RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run as stored. Ids sort by age (`tes.ids.new_task_id`).

    `request` is what the client sent, as WES shows it; `params` are its workflow_params as the engine gets
    them, where these differ: with `run://` replaced. `uses` are the runs whose files they name, and
    `resumes`, which is among them, the one whose finished steps are taken over; "" for none. `work_url`,
    which ends with a slash, is where the run's files are, and stays where the settings change. `started_at`
    is when it was first INITIALIZING. `system_logs` tell why it ended, and what its user should know.
    `doomed` runs have been deleted: nobody sees them any more, and their files and tasks are to go.
    """

    id: str
    owner: str
    state: State
    created_at: datetime
    request: Mapping[str, Any]
    engine: str
    work_url: str
    params: Mapping[str, Any] | None = None
    resumes: str = ""
    uses: Sequence[str] = ()
    groups: Sequence[str] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    system_logs: Sequence[str] = ()
    claim: Claim | None = None
    doomed: bool = False


@dataclass(frozen=True, slots=True)
class RunGlance:
    """What is asked most often about a run: its state, and whose it is."""

    state: State
    owner: str
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step of a run, and the task that it is: one of its own, or of the run `reused_from`.

    `id` is that of the record; records sort by age by it. `key` is unique in the run.
    """

    id: str
    run_id: str
    key: str
    name: str
    task_id: str
    reused_from: str = ""


@dataclass(frozen=True, slots=True)
class RunToDo:
    """A run that has not ended, or is doomed: what says which servers can drive it, and whether one does."""

    id: str
    state: State
    engine: str
    work_url: str
    is_claimed: bool
    doomed: bool


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list; everything that is set must hold. `after` is a token of an earlier answer."""

    owner: str | None = None
    group: str | None = None
    page_size: int = 256
    after: str | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What is written down with the final state."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def too_many_live(live_max: int, live: int) -> LimitReached:
    """Why a user whose runs that have not ended are so many gets no further one."""
    return LimitReached(
        "wes.live_max",
        live_max,
        live,
        taken="runs of yours have not ended",
        retry_after_s=_RETRY_S,
        advice="cancel one, or wait for an end",
    )


class RunStore(Protocol):
    """Keeps runs, their steps and their logs. It is open while the task store of its database is."""

    # -- the API's side

    async def create(
        self,
        run: Run,
        *,
        once: OnceKey | None = None,
        live_max: int | None = None,
        watch: Watch | None = None,
    ) -> str:
        """Store a new run, QUEUED. One with the same id is left untouched and counts as created.

        `watch` says who is told of its states, beginning with this one.

        Returns the id of the stored run: the given one's, or with `once` that of the run which the same owner
        created under the same key before. Of callers with one key at the same time one creates. A key is
        forgotten when its run is deleted.

        Raises:
            KeyReused: `once` belongs to a run that was created from another body.
            LimitReached: its owner has `live_max` runs that have not ended.
            RunNotFound: one that it uses is not there any more.
            InvalidRequest: it is larger than can be stored.
            NothingStored: the same request was refused at the same time.
        """

    async def find_once(self, owner: str, once: OnceKey) -> str | None:
        """The id of the run that `create` would give back for this key; None if it would make one, or try.

        Raises:
            KeyReused: as `create`.
        """

    async def get(self, run_id: str) -> Run:
        """The run as it is now.

        Raises:
            RunNotFound: there is none with this id, or it has been deleted.
        """

    async def glance(self, run_id: str) -> RunGlance:
        """The run's state and whose it is: reads no document.

        Raises:
            RunNotFound: as `get`.
        """

    async def list_runs(self, query: RunQuery) -> Page[Run]:
        """One page of the runs that match, newest first; stable while runs are added.

        They have of the request the tags alone, and no params, outputs, uses and system logs.

        Raises:
            InvalidRequest: `after` is not a token that this store gave out.
        """

    async def count_states(self) -> Mapping[State, int]:
        """How many runs are in each state; states without any may be left out."""

    async def count_live(self, owner: str) -> int:
        """How many runs of `owner` have not ended."""

    async def request_cancel(self, run_id: str, reason: str) -> State:
        """Move the run to CANCELING unless it has ended or is being canceled; return its state now.

        Raises:
            RunNotFound: as `get`.
        """

    async def doom(self, run_id: str) -> None:
        """Delete a run that has ended: from now on nobody sees it, and a conductor removes what is its.

        Raises:
            RunNotFound: as `get`.
            RunNotOver: it has not ended.
            RunInUse: another run resumes it or uses its files, ended or not: its outputs may be such files.
                The text names it.
        """

    async def doom_old(self, ended_before: datetime, *, limit: int) -> int:
        """Delete up to `limit` runs that ended before that time, as `doom` does, and are not in use.

        Returns how many.
        """

    async def read_log(self, run_id: str, name: RunLogName, *, offset: int, limit: int) -> LogPart:
        """Up to `limit` bytes of the run's own log from `offset` on; empty at the end."""

    async def log_size(self, run_id: str, name: RunLogName) -> int:
        """Bytes written so far; 0 for a log that does not exist."""

    # -- steps

    async def list_steps(self, run_id: str, *, after: str = "", limit: int) -> list[StepRecord]:
        """Up to `limit` of the run's steps, oldest first, from behind the one with the id `after` on."""

    async def find_step(self, run_id: str, task_id: str) -> StepRecord | None:
        """The step of the run that is this task."""

    async def find_step_by_key(self, run_id: str, key: str) -> StepRecord | None:
        """The step of the run with this key."""

    async def put_step(self, step: StepRecord, *, claim: Claim) -> StepRecord:
        """Keep the step, unless the run has one with its key; returns the one that it has then.

        Raises:
            ClaimLost: `claim` is no longer the run's claim.
        """

    async def replace_step(self, step: StepRecord, *, claim: Claim) -> None:
        """Keep the step in place of the one with its key: the task of that is gone.

        Raises:
            ClaimLost: `claim` is no longer the run's claim.
        """

    # -- the conductor's side

    async def list_to_do(self, *, limit: int) -> list[RunToDo]:
        """Up to `limit` of the runs that have not ended or are doomed, oldest first."""

    async def tell_unclaimed(self, run_id: str, line: str) -> bool:
        """Add a line to the system logs of a run that nobody holds, if it is new there; whether it was."""

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
        """Claim runs that have not ended or are doomed, and that nobody holds (never claimed, released, or
        lease expired).

        At most `new_limit` of the QUEUED ones, users in turn: the next is for who has least runs that are
        claimed or have begun, the oldest first; the last `reserved` of these are for users who have none. And
        all others; of the engines `without` only those that are CANCELING or doomed. With `base_url`, which
        ends with a slash, of runs whose files are not in `base_url` + id + "/" only those that are CANCELING:
        nothing else can be done without the files. Safe to call from several processes at once: no run is
        claimed twice. Opening an embedded store voids all claims.
        """

    async def renew(self, owner: str, run_ids: Collection[str], *, lease_s: float) -> None:
        """Extend the claims of those of these runs that `owner` still holds.

        A run that was claimed in a call whose answer got lost is not among them, and so becomes free again.
        """

    async def held(self, owner: str) -> Mapping[str, State]:
        """The runs that `owner` holds, with their states: how it learns of a cancel asked for elsewhere."""

    async def release(self, owner: str) -> None:
        """End all claims of `owner`, so that others need not wait for the leases."""

    async def transition(
        self, run_id: str, to: State, *, claim: Claim, log: str = "", end: RunEnd | None = None
    ) -> Run:
        """Move the run to `to`; `log` is added to its system logs. `end` is for final states.

        The claim ends with a final state.

        Raises:
            ClaimLost: `claim` is no longer the run's claim.
            TransitionRefused: the table does not allow it (a cancel came in between).
        """

    async def tell(self, line: str, *, claim: Claim) -> None:
        """Add a line to the run's system logs.

        Raises:
            ClaimLost: `claim` is no longer the run's claim.
        """

    async def append_log(self, name: RunLogName, data: bytes, *, claim: Claim) -> None:
        """Add to the end of the run's own log.

        Raises:
            ClaimLost: `claim` is no longer the run's claim.
        """

    async def remove(self, *, claim: Claim) -> None:
        """Forget a doomed run, with its steps and logs, for good.

        Raises:
            ClaimLost: `claim` is no longer the run's claim.
        """
