"""Strays: jobs that nobody drives any more, and that only this process can know of.

There are two kinds. A process that was stopped for a while may launch a job, as the last thing before it
learns that another one drives the task, and has ended that attempt. And a server that was away for too long
has jobs in its own Pulsar that others have given up. None of them gets a permit; all of them are removed.
"""

import asyncio
import logging

from tesp_api.errors import PulsarRefused, PulsarUnavailable, StoreUnavailable, TaskNotFound
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.runner.job_plan import job_id_of
from tesp_api.store.base import Task, TaskStore

_log = logging.getLogger(__name__)

_PAUSES_S = (1.0, 3.0, 10.0, 30.0)
"""A site that is away, or a worker that is just ending, is tried again."""


async def remove_own(transport: PulsarTransport, store: TaskStore) -> None:
    """Remove the jobs of our own Pulsar whose attempts are over, as the store knows.

    Those of tasks that it does not know (any more) stay: they may be another database's.

    Raises:
        StoreUnavailable: ask again later.
    """
    for job_id in await transport.own_jobs():
        task_id = job_id.rpartition("-")[0]
        try:
            task = await store.get(task_id)
        except TaskNotFound:
            _log.warning("job %s is of no task that the store knows; it stays where it is", job_id)
            continue
        if _is_over(task, job_id):
            _log.warning("removing job %s, which another server has given up", job_id)
            await _remove(transport, job_id)


async def remove_launched(task_id: str, transport: PulsarTransport, store: TaskStore) -> None:
    """Remove what may have been launched for attempts of this task that are over, having lost its claim."""
    try:
        task = await store.get(task_id)
    except (TaskNotFound, StoreUnavailable) as error:
        _log.warning("whether a job of task %s was left behind cannot be known: %s", task_id, error)
        return
    for attempt in range(1, task.attempt + 1):
        if _is_over(task, job_id := job_id_of(task_id, attempt)):
            await _remove(transport, job_id)


def _is_over(task: Task, job_id: str) -> bool:
    return not task.live or task.job is None or task.job.job_id != job_id


async def _remove(transport: PulsarTransport, job_id: str) -> None:
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
