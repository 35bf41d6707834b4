"""Waiting for tasks to end: a bell wakes whoever waits, and now and then the store is asked."""

import asyncio
from collections import defaultdict

from tesp_api.bell import Bell
from tesp_api.errors import StoreUnavailable
from tesp_api.store.base import TaskStore
from tesp_api.tes.states import FINAL, State

LOOK_ALONE_S = 5.0
"""Where this server alone drives tasks, every end is rung for; this is for the case that a ring got lost."""

LOOK_BESIDE_OTHERS_S = 0.5
"""Where other servers drive tasks too."""


class TaskEnds:
    """Tells when tasks have ended, be they driven by this server, which rings `ended`, or by another one.

    `look_s` is how long an end is not noticed if nobody rings. All methods belong to one event loop.
    """

    def __init__(self, tasks: TaskStore, ended: Bell, *, look_s: float) -> None:
        self._tasks = tasks
        self._look_s = look_s
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        ended.listen(self._rung)

    async def wait(self, task_id: str) -> State:
        """The final state of the task, once it has one. Goes on while the store does not answer.

        Raises:
            TaskNotFound: it was deleted.
        """
        rung = asyncio.Event()
        self._waiting[task_id].add(rung)
        try:
            while True:
                rung.clear()
                try:
                    state = (await self._tasks.glance(task_id)).state
                    if state in FINAL:
                        return state
                except StoreUnavailable:
                    pass
                try:
                    async with asyncio.timeout(self._look_s):
                        await rung.wait()
                except TimeoutError:
                    pass
        finally:
            self._waiting[task_id].discard(rung)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    def _rung(self, task_id: str) -> None:
        for rung in self._waiting.get(task_id, ()):
            rung.set()
