"""Pulsar inside this process: jobs run on this machine and outlive the server.

Pulsar sets the job directory up and starts the process; from then on we ask the operating system,
not Pulsar, which after a restart says `running` for ever and kills whatever has the recorded pid.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.base import JobOrder, JobState, JobStatus
from tesp_api.pulsar.doorbell import Doorbell, doorbell_name
from tesp_api.pulsar.job_files import EVENTS_FILE, HEARTBEAT_FILE, RESULT_FILE
from tesp_api.pulsar.local_job import LocalJob
from tesp_api.pulsar.local_pulsar import LocalPulsar
from tesp_api.pulsar.processes import Process, open_pidfd

log = logging.getLogger(__name__)

THREADS = 8

P = ParamSpec("P")
T = TypeVar("T")


class _News:
    """What a job's followers wait for. `end_told`: that the process ended has been news once."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.end_told = False


class EmbeddedPulsar:
    """The `PulsarTransport` of an in-process Pulsar that keeps everything below `folder`.

    One process at a time may own the folder; whoever makes this object holds the lock on it.
    `python` runs the workers. `take_over` and `is_ours` are as for `LocalPulsar`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        python: str = sys.executable,
        take_over: Callable[[Path], None] = lambda _: None,
        is_ours: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        self.min_pause_s = 0.0
        self.status_first = False
        self.name = name
        self.bell: str | None = doorbell_name(folder)
        self._doorbell = Doorbell(self.bell, self._heard)
        self._pulsar = LocalPulsar(folder, python, take_over, is_ours)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"pulsar-{name}")
        self._news: dict[str, _News] = {}
        self._ahead: dict[str, dict[str, bytes | None]] = {}
        self._stream = asyncio.Semaphore(1)

    async def open(self) -> None:
        """Start Pulsar and listen to the bell; `bell` is None afterwards if a stranger has its name."""
        await self._in_thread(self._pulsar.start)
        if not self._doorbell.open():
            self.bell = None

    async def aclose(self) -> None:
        self._doorbell.close()
        await self._in_thread(self._pulsar.stop)
        self._threads.shutdown(wait=False)

    async def check(self) -> None:
        await self._in_thread(self._pulsar.check)

    async def launch(self, order: JobOrder) -> None:
        await self._in_thread(self._pulsar.launch, order)
        event = self._news_of(order.job_id).event
        event.set()  # whoever waits now has a process to watch; whoever waits later knows it
        event.clear()

    async def status(self, job_id: str) -> JobStatus:
        return await self._in_thread(self._pulsar.job(job_id).status)

    async def read_file(self, job_id: str, name: str) -> bytes | None:
        kept = self._ahead.get(job_id)
        if kept and name in kept:
            return kept.pop(name)
        job = self._pulsar.job(job_id)
        if name != HEARTBEAT_FILE:
            return await self._in_thread(job.read, name)
        beat, self._ahead[job_id] = await self._in_thread(_look, job)
        return beat

    async def let_go(self, job_id: str, name: str) -> None:
        """Nothing is held here: files are read from the site."""

    async def write_file(self, job_id: str, name: str, data: bytes) -> None:
        await self._in_thread(self._pulsar.job(job_id).write, name, data)

    async def set_up(self, job_id: str) -> None:
        await self._in_thread(self._pulsar.set_up, job_id)

    async def place_file(self, job_id: str, name: str, source: Path) -> None:
        await self._in_thread(self._pulsar.job(job_id).place_input, name, source)

    async def fetch_file(self, job_id: str, name: str, sink: Callable[[bytes], None]) -> bool:
        async with self._stream:  # a slow disk must not take all the threads
            return await self._in_thread(self._pulsar.job(job_id).pour, name, sink)

    async def wait_for_news(self, job_id: str, timeout_s: float) -> None:
        """Return when the worker rang, the job's process ended, or the time is up.

        The end of a process is told once; after that only the bell and the time end the wait, so
        that a caller who asks on and on does not spin.
        """
        job, news = self._pulsar.job(job_id), self._news_of(job_id)
        if not news.event.is_set():
            process = await self._in_thread(job.process)
            if process is None and not news.end_told:
                state = (await self._in_thread(job.status)).state
                news.end_told = state is JobState.ENDED
                if news.end_told:
                    return
            with watch_end(process, news):
                await _wait(news.event, timeout_s)
        news.event.clear()

    async def cancel(self, job_id: str) -> None:
        await self._in_thread(self._pulsar.cancel, job_id)
        self._heard(job_id)

    async def own_jobs(self) -> list[str]:
        return await self._in_thread(self._pulsar.jobs)

    async def clean(self, job_id: str) -> None:
        await self._in_thread(self._pulsar.clean, job_id)
        self._news.pop(job_id, None)
        self._ahead.pop(job_id, None)

    def _news_of(self, job_id: str) -> _News:
        return self._news.setdefault(job_id, _News())

    def _heard(self, job_id: str) -> None:
        if (news := self._news.get(job_id)) is not None:
            news.event.set()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what blocks in our own threads.

        Raises:
            PulsarUnavailable: the operating system refused something: a full disk, permissions.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        except OSError as exc:
            raise PulsarUnavailable(f"the embedded Pulsar failed: {exc}") from exc


def _look(job: LocalJob) -> tuple[bytes | None, dict[str, bytes | None]]:
    """The heartbeat, and with a last one what is read next: each way to a thread has its price."""
    beat = job.read(HEARTBEAT_FILE)
    return beat, {name: job.read(name) for name in (EVENTS_FILE, RESULT_FILE)} if _is_last(beat) else {}


def _is_last(beat: bytes | None) -> bool:
    """Whether it says that the worker has ended; what is no heartbeat says nothing."""
    try:
        found = json.loads(beat or b"{}")
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found.get("ended"))


@contextlib.contextmanager
def watch_end(process: Process | None, news: _News) -> Iterator[None]:
    """Make the end of the process news while the block runs; it is at once if that has ended."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = open_pidfd(process) if process is not None else None
    except OSError as exc:
        log.warning("cannot watch process %s: %s", process, exc)
        pidfd = process = None

    def ended() -> None:
        if pidfd is not None:
            loop.remove_reader(pidfd)
        news.end_told = True
        news.event.set()

    if pidfd is not None:
        loop.add_reader(pidfd, ended)
    elif process is not None:
        ended()
    try:
        yield
    finally:
        if pidfd is not None:
            loop.remove_reader(pidfd)
            os.close(pidfd)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
