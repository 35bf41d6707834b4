"""Stores a task and wakes the runner: what all endpoints that create tasks have in common."""

from tesp_api.api.idempotency import once_key
from tesp_api.bell import Bell
from tesp_api.store.base import Task, TaskStore
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tesp_api.tes.validation import NewTask

ANYBODY = "anybody"
"""The owner of all tasks while nobody has to log in."""


def queued_task(new: NewTask) -> Task:
    """A valid task, with an id, as it will be stored."""
    return Task(
        id=new_task_id(),
        owner=ANYBODY,
        state=State.QUEUED,
        created_at=now(),
        request=new.document,
        warnings=new.warnings,
    )


async def store_task(task: Task, key: str | None, store: TaskStore, bell: Bell) -> str:
    """Store the task and ring; returns its id, or that of the task that was stored under `key` before.

    Raises:
        KeyReused: that task is another one.
        StoreUnavailable: the task is not stored.
    """
    once = None if key is None else once_key(key, task.request)
    task_id = await store.create(task, once=once)
    bell.ring(task_id)
    return task_id
