"""The protocol that every way of reaching a Pulsar fulfils: what the runner may ask of a job.

Pulsar's own word is never proof (it forgets, says `running` for ever, or `lost` too soon), so this
protocol carries little of it: the truth about a job is what its worker wrote below
`metadata/tesp/` in the job directory (see `tesp_api.worker` for the files), read with `read_file`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class JobState(StrEnum):
    """What Pulsar (or the operating system, where it can be asked) says of a job's process."""

    PENDING = "pending"  # set up, and not launched as far as Pulsar knows
    WAITING = "waiting"  # in the hands of a scheduler that does not run it: it is queued, or suspended
    RUNNING = "running"  # as far as Pulsar knows; may be untrue after a restart of Pulsar
    ENDED = "ended"  # there is no process of this job any more
    UNTOLD = "untold"  # Pulsar answers, but not on this job: it has ended, or the scheduler does not answer
    UNKNOWN = "unknown"  # Pulsar does not know such a job


@dataclass(frozen=True, slots=True)
class JobStatus:
    """`state` and whether it is certain: a pid that was checked is, Pulsar's memory is not."""

    state: JobState
    certain: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobOrder:
    """All that a site needs to run one attempt: `worker` is a zipapp, `task_json` its only input.

    `params` are for the scheduler behind Pulsar's manager, which gets them as they are. `is_new` says for
    certain that nothing of the job has been sent yet, by nobody.
    """

    job_id: str
    worker: bytes
    task_json: bytes
    params: Mapping[str, str] = field(default_factory=dict)
    is_new: bool = False


class PulsarTransport(Protocol):
    """One destination's Pulsar. Safe to use from many tasks of one event loop at once.

    Every method raises `PulsarUnavailable` when Pulsar cannot be reached or answers with a passing
    fault (ask again later), and `PulsarRefused` when it will never do this (a wrong token, an
    unknown manager). No token or password is ever part of an error's text.
    """

    name: str
    bell: str | None
    """Where this site's workers can ring to say "there is news", or None if they cannot."""

    min_pause_s: float
    """Rest so long between two looks at a job's files where each look costs the site a job; 0 elsewhere."""

    status_first: bool
    """Whether a job that was launched just now is better asked for by `status` than by a file that may be
    missing."""

    async def open(self) -> None:
        """Start what this transport needs. Called once, before anything else."""

    async def aclose(self) -> None:
        """Let go of everything without disturbing jobs: they go on and are adopted at the next start."""

    async def check(self) -> None:
        """Return if Pulsar answers; raise otherwise. Cheap enough to be asked every few seconds."""

    async def launch(self, order: JobOrder) -> None:
        """Set the job up, place worker and task.json, submit it.

        May be repeated with the same job id after any failure or restart: the worker's own
        `started` file keeps a job that was submitted twice from running twice.
        """

    async def status(self, job_id: str) -> JobStatus:
        """Pulsar's word on the job; `UNKNOWN` for a job that it never had or has cleaned."""

    async def read_file(self, job_id: str, name: str) -> bytes | None:
        """The present content of `metadata/tesp/{name}`, None if there is none (or no such job)."""

    async def let_go(self, job_id: str, name: str) -> None:
        """What this holds of a file that a site has sent by itself may go: it is kept elsewhere now."""

    async def write_file(self, job_id: str, name: str, data: bytes) -> None:
        """Put `metadata/tesp/{name}` into the job's directory, also while the job runs."""

    async def set_up(self, job_id: str) -> None:
        """Make the job's directory, if there is none yet; `launch` does the rest. May be repeated."""

    async def place_file(self, job_id: str, name: str, source: Path) -> None:
        """Put a file of any size into `inputs/` of a job that is set up, replacing an earlier one.

        `name` is flat. `source` may be gone afterwards, since a Pulsar on this machine takes the very
        file. Of several such calls and of `fetch_file`, a Pulsar with few threads is sent one at a time.

        Raises:
            PulsarRefused: there is no such job.
        """

    async def fetch_file(self, job_id: str, name: str, sink: Callable[[bytes], None]) -> bool:
        """Give the content of `metadata/tesp/{name}`, of any size, to `sink` piece by piece.

        `sink` is called in a thread, and what it raises ends the transfer. False if there is no such
        file, or no such job.
        """

    async def wait_for_news(self, job_id: str, timeout_s: float) -> None:
        """Return as soon as the job may have news, at the latest after `timeout_s`; may be early."""

    async def cancel(self, job_id: str) -> None:
        """Kill the job's processes. Does nothing for a job that ended or that Pulsar does not know."""

    async def own_jobs(self) -> Sequence[str]:
        """The jobs of a Pulsar that is part of this process; of all others they are not known: empty."""

    async def clean(self, job_id: str) -> None:
        """Remove the job's directory and Pulsar's record of it. Does nothing if both are gone.

        Raises:
            PulsarUnavailable: also when something of the directory is still there afterwards.
        """
