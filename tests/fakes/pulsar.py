"""A Pulsar in memory whose workers are played by the test."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tesp_api.errors import PulsarRefused
from tesp_api.pulsar.base import JobOrder, JobState, JobStatus
from tesp_api.pulsar.job_files import check_file_name, check_input_name, check_job_id


@dataclass(slots=True)
class FakeJob:
    """One job directory: the order as it came over the wire, and the files of `metadata/tesp/`.

    Until it `is_launched` it is only set up.
    """

    order: JobOrder = field(default_factory=lambda: JobOrder("", b"", b""))
    is_launched: bool = False
    state: JobState = JobState.PENDING
    files: dict[str, bytes] = field(default_factory=dict)
    inputs: dict[str, bytes] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class FakePulsar:
    """Implements `PulsarTransport`; a launched job runs until the test ends it or somebody cancels.

    For the test: `jobs`, `launches` and `cancelled` show what was done; `script` prepares what a
    job's worker writes as soon as it is launched, `put` and `end` play it later, and `fail_next`
    makes the next call of a method raise. Its word on a job is certain unless `is_certain` is cleared.
    """

    def __init__(self, name: str = "fake", bell: str | None = None) -> None:
        self.min_pause_s = 0.0
        self.status_first = False
        self.name = name
        self.bell = bell
        self.is_certain = True
        self.jobs: dict[str, FakeJob] = {}
        self.launches: list[str] = []
        self.cancelled: list[str] = []
        self._scripts: dict[str, tuple[dict[str, bytes], bool]] = {}
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)

    # for the test

    def script(self, job_id: str, files: Mapping[str, bytes], ends: bool = True) -> None:
        """What the job's worker will have written when `launch` returns, and whether it has ended."""
        self._scripts[job_id] = ({name: bytes(data) for name, data in files.items()}, ends)

    def put(self, job_id: str, name: str, data: bytes) -> None:
        """The worker of a launched job writes a file, and rings."""
        job = self.jobs[job_id]
        job.files[check_file_name(name)] = bytes(data)
        job.news.set()

    def end(self, job_id: str) -> None:
        """The worker's process ends; what it wrote stays."""
        self.jobs[job_id].state = JobState.ENDED
        self.jobs[job_id].news.set()

    def fail_next(self, method: str, exc: Exception) -> None:
        """Make the next call of the method raise; several failures of one method queue up."""
        self._failures[method].append(exc)

    # the protocol

    async def open(self) -> None:
        await self._pass("open")

    async def aclose(self) -> None:
        await self._pass("aclose")

    async def check(self) -> None:
        await self._pass("check")

    async def launch(self, order: JobOrder) -> None:
        await self._pass("launch")
        job_id = check_job_id(order.job_id)
        self.launches.append(job_id)
        job = self.jobs.setdefault(job_id, FakeJob())
        if job.is_launched:
            return
        job.is_launched = True
        job.order = JobOrder(job_id, bytes(order.worker), bytes(order.task_json), dict(order.params))
        job.state = JobState.RUNNING
        files, ends = self._scripts.get(job_id, ({}, False))
        for name, data in files.items():
            self.put(job_id, name, data)
        if ends:
            self.end(job_id)

    async def status(self, job_id: str) -> JobStatus:
        await self._pass("status")
        job = self.jobs.get(check_job_id(job_id))
        state = job.state if job is not None else JobState.UNKNOWN
        return JobStatus(state, certain=self.is_certain and state is not JobState.UNTOLD)

    async def read_file(self, job_id: str, name: str) -> bytes | None:
        await self._pass("read_file")
        check_file_name(name)
        job = self.jobs.get(check_job_id(job_id))
        return job.files.get(name) if job is not None else None

    async def let_go(self, job_id: str, name: str) -> None:
        """Nothing is held here: files are read from the site."""

    async def write_file(self, job_id: str, name: str, data: bytes) -> None:
        await self._pass("write_file")
        check_file_name(name)
        if check_job_id(job_id) not in self.jobs:
            raise PulsarRefused(f"there is no job {job_id} to write {name} for")
        self.jobs[job_id].files[name] = bytes(data)

    async def set_up(self, job_id: str) -> None:
        await self._pass("set_up")
        self.jobs.setdefault(check_job_id(job_id), FakeJob())

    async def place_file(self, job_id: str, name: str, source: Path) -> None:
        await self._pass("place_file")
        check_input_name(name)
        if check_job_id(job_id) not in self.jobs:
            raise PulsarRefused(f"there is no job {job_id} to place {name} for")
        self.jobs[job_id].inputs[name] = source.read_bytes()

    async def fetch_file(self, job_id: str, name: str, sink: Callable[[bytes], None]) -> bool:
        data = await self.read_file(job_id, name)
        if data is not None:
            await asyncio.to_thread(sink, data)
        return data is not None

    async def wait_for_news(self, job_id: str, timeout_s: float) -> None:
        await self._pass("wait_for_news")
        job = self.jobs.get(check_job_id(job_id))
        if job is None:
            await asyncio.sleep(timeout_s)
            return
        try:
            async with asyncio.timeout(timeout_s):
                await job.news.wait()
        except TimeoutError:
            return
        job.news.clear()

    async def cancel(self, job_id: str) -> None:
        await self._pass("cancel")
        job = self.jobs.get(check_job_id(job_id))
        if job is not None and job.state is JobState.RUNNING:
            self.cancelled.append(job_id)
            self.end(job_id)

    async def own_jobs(self) -> list[str]:
        return []

    async def clean(self, job_id: str) -> None:
        await self._pass("clean")
        self.jobs.pop(check_job_id(job_id), None)

    async def _pass(self, method: str) -> None:
        """Give other tasks a turn, as every real call does, then fail if the test wants it."""
        await asyncio.sleep(0)
        if self._failures[method]:
            raise self._failures[method].pop(0)
