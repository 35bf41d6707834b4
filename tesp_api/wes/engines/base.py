"""What a workflow engine is to the server, and what the server is to it.

An engine expands one run at a time into tasks. It knows nothing of stores, users or credentials: it asks a
`RunHost`, which does everything in the name of the run's owner. Whatever dies, `execute` is called again
with the same run; it must come to the same steps, which the host then finds rather than creates.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tesp_api.tes.states import State

LogName = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class EngineRun:
    """A run as an engine sees it.

    `workflow_url` is absolute, or relative to `attachments`, the folder with the files of the request, which
    no engine writes to; the sites reach the same files at `work_url` + "attachments/". `work_dir` is the
    run's own local folder; what an engine keeps there outlives restarts. `work_url`, which ends with a slash,
    is where steps leave their files, `file:///.../` or `s3://.../`: the sites reach it. `engine_parameters`
    are those that the request names.
    """

    id: str
    workflow_type: str
    workflow_type_version: str
    workflow_url: str
    workflow_params: Mapping[str, Any]
    engine_parameters: Mapping[str, str]
    attachments: Path
    work_dir: Path
    work_url: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run as a TES task. `key` is the same whenever the run comes to this step again.

    `document` is TES JSON without tags of the host's own, which adds the run's id and the step's `name`.
    `success_codes` are the exit codes of its last executor that count as success: a task that ignores errors
    is COMPLETE with any. `later_keys` are those that further attempts at it would have: one that succeeded in
    a run that is resumed does as well.
    """

    key: str
    name: str
    document: Mapping[str, Any]
    success_codes: Collection[int] = (0,)
    later_keys: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How the task of a step has ended: its state, and its last attempt's tesTaskLog, with the executors'
    stdout and stderr as tails.

    `document` is the one with which the task was created. Of a step taken over from another run, the one
    `reused_from`, it names other places than the step that was submitted: there its files are.
    """

    task_id: str
    state: State
    log: Mapping[str, Any]
    document: Mapping[str, Any] = field(default_factory=dict)
    reused_from: str = ""


@dataclass(frozen=True, slots=True)
class FileStat:
    """What is at a URL; `size_bytes` is None where the server does not tell, and for directories."""

    url: str
    kind: Literal["file", "directory"]
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class EngineOutcome:
    """The end of a run. `reason` is for people: which step failed, where, and why.

    `outputs` is what WES shows as the run's outputs; files in it are told by their URLs beneath `work_url`.
    """

    state: Literal[State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR, State.CANCELED]
    exit_code: int | None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


class RunFiles(Protocol):
    """The files that a run may see: its attachments, its work storage, what the settings allow elsewhere.

    URLs are `file`, `http(s)`, `ftp(s)` and `s3`; one that is not allowed is refused with `InvalidRequest`,
    and what is not there raises `FileNotFoundError`.
    """

    async def stat(self, url: str) -> FileStat: ...

    async def read(self, url: str, *, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes from `offset` on; empty at the end."""

    async def listing(self, url: str) -> Sequence[FileStat]:
        """What is directly in a directory."""

    async def write(self, url: str, data: bytes) -> None:
        """Make a file beneath the run's `work_url`, and nowhere else."""

    async def aclose(self) -> None:
        """Let go of what was fetched meanwhile."""


class RunHost(Protocol):
    """What a run's engine can have done, all of it in the name of the run's owner."""

    files: RunFiles

    async def submit(self, step: Step) -> str:
        """The id of the step's task, created unless there is one for this run and key; atomic, and safe to
        repeat. A step that finished in the run that this one resumes is taken over, and told as such.

        Raises:
            InvalidRequest: the document is not a task, or no destination can take it.
            RunCanceled: the run is being canceled: nothing more is submitted.
        """

    async def known_keys(self) -> Collection[str]:
        """The keys of the steps that the run has, from earlier expansions of it, too."""

    async def wait(self, task_id: str) -> StepEnd:
        """Return when the task has ended: events wake it, and it seldom asks the store."""

    async def cancel(self, task_id: str, reason: str) -> None:
        """Ask for the end of one of the run's tasks, as for a tool's time limit."""

    async def log(self, name: LogName, data: bytes) -> None:
        """Add to the run's own log, which callers see as the RunLog's stdout and stderr."""


class WorkflowEngine(Protocol):
    """One kind of engine, used for many runs at once."""

    @property
    def name(self) -> str:
        """As in `workflow_engine` of a request, and in `tesp engine install NAME`."""

    @property
    def workflow_types(self) -> Mapping[str, Sequence[str]]:
        """Each type with its versions: {"CWL": ["v1.0", "v1.1", "v1.2"]}."""

    @property
    def parameters(self) -> Mapping[str, str]:
        """The workflow_engine_parameters that it knows, with what they are if a request names them not."""

    async def open(self) -> None:
        """Get ready for runs; does nothing where nothing is installed. It can execute without, too."""

    async def aclose(self) -> None:
        """End what was made ready."""

    async def version(self) -> str | None:
        """The version of what is installed; None if nothing is."""

    @property
    def fault(self) -> str:
        """Why it cannot be used here, and what the operator has to do; "" if it can. May block."""

    async def execute(self, run: EngineRun, host: RunHost) -> EngineOutcome:
        """Expand the run and wait for its tasks, until all has ended; also again, after whatever died.

        A cancellation of the asyncio task stops the engine's processes at once; the run may be executed anew.

        Raises:
            EngineUnusable: as `fault`; nothing was done.
            EngineDied: a process of it was killed, say: it is to be called again.
        """
