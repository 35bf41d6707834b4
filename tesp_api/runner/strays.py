"""Strays: jobs that nobody drives any more, and that only this process can know of.

There are two kinds. A process that was stopped for a while may launch a job, as the last thing before it
learns that another one drives the task, and has ended that attempt. And a server that was away for too long
has jobs in its own Pulsar that others have given up. None of them gets a permit; all of them are removed.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from tesp_api.errors import PulsarError, PulsarRefused, PulsarUnavailable, StoreUnavailable, TaskNotFound
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.runner.job_plan import job_id_of
from tesp_api.store.base import Task, TaskStore

_log = logging.getLogger(__name__)

_PAUSES_S = (1.0, 3.0, 10.0, 30.0)
"""A site that is away, or a worker that is just ending, is tried again."""


class Strays:
    """One per process. What it does, it does in the background."""

    def __init__(self, transports: Mapping[str, PulsarTransport], store: TaskStore) -> None:
        self._transports = transports
        self._store = store
        self._work: set[asyncio.Task[None]] = set()

    def look_for_own(self, every_s: float) -> None:
        """From now on, remove the jobs of our own Pulsar whose attempts are over, as the store knows."""
        self._begin(self._look_forever(every_s))

    def remove_launched(self, task_id: str, destination: str | None) -> None:
        """Remove what may have been launched there for attempts that are over: the task's claim is lost."""
        transport = self._transports.get(destination or "")
        if transport is not None:
            self._begin(self._remove_launched(task_id, transport))

    async def aclose(self) -> None:
        """Leave what is left to the next start."""
        for work in self._work:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="remove strays")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _look_forever(self, every_s: float) -> None:
        while True:
            for transport in self._transports.values():
                try:
                    await remove_own(transport, self._store)
                except (PulsarError, StoreUnavailable) as error:
                    _log.warning("jobs that others have given up cannot be looked for: %s", error)
                except Exception:
                    _log.exception("looking for jobs that others have given up failed")
            await asyncio.sleep(every_s)

    async def _remove_launched(self, task_id: str, transport: PulsarTransport) -> None:
        try:
            task = await self._store.get(task_id)
            for attempt in range(1, task.attempt + 1):
                if is_over(task, job_id := job_id_of(task_id, attempt)):
                    await remove(transport, job_id)
        except (TaskNotFound, StoreUnavailable) as error:
            _log.warning("whether a job of task %s was left behind cannot be known: %s", task_id, error)
        except Exception:
            _log.exception("jobs of task %s may have been left behind", task_id)


async def remove_own(transport: PulsarTransport, store: TaskStore) -> None:
    """Jobs of tasks that the store does not know (any more) stay: they may be another database's.

    Raises:
        StoreUnavailable: ask again later.
    """
    for job_id in await transport.own_jobs():
        try:
            task = await store.get(job_id.rpartition("-")[0])
        except TaskNotFound:
            _log.info("job %s is of no task that the store knows; it stays where it is", job_id)
            continue
        if is_over(task, job_id):
            _log.warning("removing job %s, whose attempt is over", job_id)
            await remove(transport, job_id)


def is_over(task: Task, job_id: str) -> bool:
    """Whether nobody has any use for this job of the task."""
    return not task.live or task.job is None or task.job.job_id != job_id


async def remove(transport: PulsarTransport, job_id: str) -> None:
    """Give the worker a moment to end by itself, which also removes its container."""
    for pause_s in _PAUSES_S:
        try:
            try:
                await transport.write_file(job_id, "cancel", b"")
            except PulsarRefused:  # there is no such job
                return
            await transport.clean(job_id)
        except PulsarRefused as error:
            _log.warning("job %s cannot be removed: %s", job_id, error)
            return
        except PulsarUnavailable as error:
            _log.info("job %s is not removed yet: %s", job_id, error)
            await asyncio.sleep(pause_s)
        else:
            return
    _log.warning("job %s was left behind at %s", job_id, transport.name)
