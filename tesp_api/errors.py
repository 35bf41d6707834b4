"""Every error of TESP, and what each means to a client and to a task.

    TespError                       500
    ├── InvalidRequest              400   what the client sent cannot be used; carries the faults
    ├── BodyTooLarge                413
    ├── NotAuthenticated            401   nobody knows who sends this
    ├── NotAllowed                  403   the server knows, but this may not be done
    ├── AuthenticationBusy          503   it cannot be said now who sends this
    ├── LimitReached                429   as much as the settings let one user, or all, have or ask for
    ├── TaskNotFound                404   there is none, or it is another's
    ├── TaskNotOver                 409   only what has ended can be deleted
    ├── TaskInUse                   409   a run that has not ended needs the task
    ├── RunNotFound                 404   there is no such workflow run, or it is another's
    ├── RunNotOver                  409   only a run that has ended can be deleted
    ├── RunInUse                    409   another run needs this one's files
    ├── RunCanceled                 (an engine may have nothing more done for a run that is being canceled)
    ├── KeyReused                   409   an Idempotency-Key came again with another body
    ├── AccountRefused              409   there is such a user already, or no such user or token
    ├── UpkeepRefused               (ends a command: a backup, a restore or an upgrade must not be done now)
    ├── SettingsError               (stops the start)
    ├── StoreError                  500
    │   ├── StoreUnavailable        503   try again later
    │   │   └── NothingStored       503   ... and nothing of it is there
    │   ├── DataFolderInUse         (stops the start)
    │   ├── TransitionRefused       409   the task is not in a state from which this can be done
    │   ├── ClaimLost               (another process, or nobody, owns the task now)
    │   ├── PermitRefused           410   a worker may not begin, or not send its outputs
    │   └── AttemptBegun            (a worker got its start permit: it is no proof any more that nothing ran)
    ├── ChannelError                500   what a worker asked for is not lent
    │   ├── WorkOrderRefused        401   the token is not of this server
    │   ├── NotLent                 403   the URL is not the attempt's, or has no credential
    │   ├── SealBroken              403   the key that sealed a task's logins is not the server's
    │   └── AttemptOver             410   the attempt has ended
    ├── StorageUnavailable          503   where workflow runs keep their files does not answer, or is full
    ├── EngineUnusable              503   a workflow engine is not installed, or must not run; its runs wait
    ├── EngineDied              (a process of a workflow engine has died: the run is expanded anew)
    ├── StagingRefused              502 → SYSTEM_ERROR   what is needed of storage cannot be had beforehand
    └── PulsarError                 502 → SYSTEM_ERROR
        ├── PulsarUnavailable       503   ask again later; no task ends because of it alone
        ├── PulsarRefused           502 → SYSTEM_ERROR   a wrong token, an unknown manager
        └── JobLost                 502 → SYSTEM_ERROR   the worker vanished without a result

The class alone decides the HTTP status (`http_status`) and the state of a task that it ends
(`final_state`, None where it ends none).
"""

import math
from dataclasses import asdict, dataclass
from typing import ClassVar

from tesp_api.tes.states import State


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: `field` as in `executors[0].image`, `message` saying what to do."""

    field: str
    message: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


class TespError(Exception):
    """The base of all errors that TESP raises on purpose."""

    http_status: ClassVar[int] = 500
    final_state: ClassVar[State | None] = None


class InvalidRequest(TespError):
    """The request cannot be used; `faults` names every fault found, not only the first."""

    http_status = 400

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))


class BodyTooLarge(TespError):
    """The request's body is longer than `server.max_body_bytes`."""

    http_status = 413

    def __init__(self, max_body_bytes: int) -> None:
        super().__init__(
            f"the body is larger than {max_body_bytes} bytes; pass large data by URL, not as content"
        )


class NotAuthenticated(TespError):
    """The request has no credentials, or such as prove nothing; the text says which, and no secret.

    `refused` tells wrong credentials from missing ones; `is_guess`, those that anybody could have made up
    from such as were good once, or are for something else.
    """

    http_status = 401

    def __init__(self, reason: str, *, refused: bool = True, is_guess: bool = True) -> None:
        self.refused, self.is_guess = refused, is_guess
        super().__init__(reason)


class NotAllowed(TespError):
    """Who sends this is known, but may not do it; or nobody may, in this way."""

    http_status = 403


class AuthenticationBusy(TespError):
    """Whether the credentials are right cannot be found out now."""

    http_status = 503


class LimitReached(TespError):
    """A limit of the settings: `name` is where it stands, `value` what it is, `used` how much is `taken`.

    `retry_after_s`: before that it is useless to ask again; `advice` says what else helps.
    """

    http_status = 429

    def __init__(
        self,
        name: str,
        value: float,
        used: float,
        *,
        retry_after_s: float,
        advice: str,
        taken: str = "taken",
    ) -> None:
        self.name, self.value, self.used = name, value, used
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        super().__init__(
            f"{name} is {value:.15g}, {used:.15g} {taken}: {advice};"
            f" try again in {self.retry_after_s} s at the earliest"
        )


class TaskNotFound(TespError):
    """There is no such task, or it is not the caller's."""

    http_status = 404

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"there is no task {task_id!r}")


class TaskNotOver(TespError):
    """The task has not ended, or its job is still being cleaned up."""

    http_status = 409

    def __init__(self, task_id: str, state: State) -> None:
        self.task_id, self.state = task_id, state
        super().__init__(
            f"task {task_id} is {state} or still being cleaned up: cancel it, or wait for its end"
        )


class TaskInUse(TespError):
    """The task has ended, but a workflow run whose step it is has not."""

    http_status = 409

    def __init__(self, task_id: str, run_id: str) -> None:
        super().__init__(
            f"task {task_id} is a step of run {run_id}, which has not ended: cancel that, or wait for its end"
        )


class RunNotFound(TespError):
    """There is no such workflow run, or it is not the caller's."""

    http_status = 404

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"there is no run {run_id!r}")


class RunNotOver(TespError):
    """The run has not ended."""

    http_status = 409

    def __init__(self, run_id: str, state: State) -> None:
        super().__init__(f"run {run_id} is {state}: cancel it, or wait for its end")


class RunInUse(TespError):
    """Another run needs the files of this one."""

    http_status = 409

    def __init__(self, run_id: str, other_id: str) -> None:
        super().__init__(f"run {other_id} uses files of run {run_id}: delete that one first")


class RunCanceled(TespError):
    """The run is being canceled: nothing more is done for it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} is being canceled")


class KeyReused(TespError):
    """An idempotency key was used before, with another body."""

    http_status = 409

    def __init__(self, key: str, *, what: str = "task") -> None:
        super().__init__(f"the Idempotency-Key {key!r} was used for another {what}: choose a new one")


class AccountRefused(TespError):
    """A user or token cannot be made, changed or removed as asked for."""

    http_status = 409


class UpkeepRefused(TespError):
    """The store cannot be backed up, restored or upgraded as asked for; the text says what to do first."""


class SettingsError(TespError):
    """The settings are wrong; the text names the key and says what to do."""


class StoreError(TespError):
    """The store failed in a way that asking again will not mend."""


class StoreUnavailable(StoreError):
    """The store does not answer now."""

    http_status = 503


class NothingStored(StoreUnavailable):
    """What was to be stored is not, and it is known that it is not; the same may be tried again."""


class DataFolderInUse(StoreError):
    """Another process owns the data folder."""

    def __init__(self, folder: str) -> None:
        super().__init__(
            f"the data folder {folder} is in use by another tesp server: "
            "stop that one, or choose another folder with --data"
        )


class TransitionRefused(StoreError):
    """The task is in a state from which the wanted one cannot be reached."""

    http_status = 409

    def __init__(self, task_id: str, current: State, wanted: State, *, what: str = "task") -> None:
        self.task_id, self.current, self.wanted = task_id, current, wanted
        super().__init__(f"{what} {task_id} is {current} and cannot become {wanted}")


class ClaimLost(StoreError):
    """The caller's claim on the task has been taken over; it must not touch the task any more."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"task {task_id} is claimed by another process")


class PermitRefused(StoreError):
    """A worker does not get its permit, now or later: its attempt is over, or another worker's."""

    http_status = 410

    def __init__(self, reason: str, *, is_canceled: bool = False) -> None:
        self.is_canceled = is_canceled
        super().__init__(reason)


class AttemptBegun(StoreError):
    """The attempt cannot be given up as one of which nothing has run: a worker holds its start permit."""

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(f"a worker of attempt {attempt} of task {task_id} was permitted to start")


class ChannelError(TespError):
    """A worker asked for what it does not get; the text is part of the reason that the user reads."""


class WorkOrderRefused(ChannelError):
    """The token of a worker is not one that this server made; `claimed_task_id` is not to be trusted."""

    http_status = 401

    def __init__(self, reason: str, *, claimed_task_id: str = "") -> None:
        self.claimed_task_id = claimed_task_id
        super().__init__(f"the work order is refused: {reason}")


class NotLent(ChannelError):
    """The attempt has no right to this URL, or the settings have no credential for it."""

    http_status = 403


class SealBroken(ChannelError):
    """What was sealed for a task cannot be opened."""

    http_status = 403

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"the logins that came in the URLs of task {task_id} cannot be read any more: the server's key "
            "(secret_key, or the file secret.key in its data folder) is not the one that sealed them"
        )


class AttemptOver(ChannelError):
    """The task has ended, is being canceled, or is at a later attempt."""

    http_status = 410


class StorageUnavailable(TespError):
    """The storage in which workflow runs keep their files cannot be used now."""

    http_status = 503


class EngineUnusable(TespError):
    """A workflow engine cannot run on this server; the text says what its operator has to do."""

    http_status = 503


class EngineDied(TespError):
    """A process of a workflow engine has died by itself, or was killed; the run may be expanded anew."""


class StagingRefused(TespError):
    """What a worker will need of storage cannot be lent to it beforehand."""

    http_status = 502
    final_state: ClassVar[State | None] = State.SYSTEM_ERROR

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url[:500]}: {reason}")


class PulsarError(TespError):
    """Something between us and the job went wrong for good."""

    http_status = 502
    final_state: ClassVar[State | None] = State.SYSTEM_ERROR


class PulsarUnavailable(PulsarError):
    """Pulsar does not answer now."""

    http_status = 503
    final_state = None


class PulsarRefused(PulsarError):
    """Pulsar will not do this, however often it is asked."""


class JobLost(PulsarError):
    """The job's worker vanished without leaving a result."""
