"""Plays the runner for tests of workflow runs: brings tasks to their ends, as their commands say."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from tesp_api.bell import Bell
from tesp_api.errors import ClaimLost, TaskNotFound, TransitionRefused
from tesp_api.store.base import Changes, Claim, Job, Task, TaskStore
from tesp_api.tes.states import State, route

AT = "2026-01-01T00:00:00.000000+00:00"


class TaskPlayer:
    """`true` ends COMPLETE, `ignored` too, with exit code 3, and `false` EXECUTOR_ERROR.

    `hang` runs until it is canceled or `go` is called.
    """

    def __init__(self, store: TaskStore, bell: Bell, ended: Bell) -> None:
        self._store = store
        self._ended = ended
        self._look = asyncio.Event()
        self._held: dict[str, Claim] = {}
        self._going = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self.begun: list[str] = []
        """The names of the tasks that were begun, in order."""
        bell.listen(lambda _: self._look.set())

    def go(self) -> None:
        """Let what hangs end."""
        self._going.set()
        self._look.set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._play())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop

    async def _play(self) -> None:
        while True:
            self._look.clear()
            for task in await self._store.claim("player", lease_s=600, new_limit=1000):
                assert task.claim is not None
                self._held[task.id] = task.claim
                if task.state is State.QUEUED:
                    await self._begin(task, task.claim)
            for task_id, claim in list(self._held.items()):
                with contextlib.suppress(ClaimLost, TaskNotFound, TransitionRefused):
                    await self._go_on(await self._store.get(task_id), claim)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._look.wait()

    async def _begin(self, task: Task, claim: Claim) -> None:
        await self._store.update(task.id, Changes(attempt=1, job=Job("local", f"{task.id}-1")), claim=claim)
        with contextlib.suppress(TransitionRefused):
            await self._store.transition(task.id, State.INITIALIZING, claim=claim, reason="played")
            self.begun.append(task.request["name"])

    async def _go_on(self, task: Task, claim: Claim) -> None:
        command = task.request["executors"][0]["command"][0]
        if task.state is State.CANCELING:
            await self._end(task, claim, State.CANCELED, 137)
        elif command == "false":
            await self._end(task, claim, State.EXECUTOR_ERROR, 1)
        elif command == "ignored":
            await self._end(task, claim, State.COMPLETE, 3)
        elif command == "true" or self._going.is_set():
            await self._end(task, claim, State.COMPLETE, 0)

    async def _end(self, task: Task, claim: Claim, state: State, exit_code: int) -> None:
        await self._store.append_log(claim, 1, 0, "stdout", 0, task.request["name"].encode())
        log = {
            "start_time": AT,
            "end_time": AT,
            "logs": [{"start_time": AT, "end_time": AT, "exit_code": exit_code}],
            "outputs": [],
            "system_logs": ["played"],
        }
        for each in route(task.state, state):
            changes = Changes(log=log) if each is state else None
            await self._store.transition(task.id, each, claim=claim, reason="played", changes=changes)
        await self._store.retire(claim)
        del self._held[task.id]
        self._ended.ring(task.id)
