"""The tasks of a run: how they are made, found, canceled, and waited for."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tesp_api.bell import Bell
from tesp_api.errors import TaskNotFound
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import STEPS_PAGE_MAX, Run, RunStore, StepRecord
from tesp_api.tes.states import FINAL
from tesp_api.tes.validation import NewTask
from tesp_api.wes.task_ends import TaskEnds

_CANCELS_AT_ONCE = 32


class StepTasks(Protocol):
    """Makes tasks of steps; the same rules hold as for tasks that come from outside."""

    def admit_step(self, document: Mapping[str, Any], *, owner: str, places: Sequence[str]) -> NewTask:
        """The task, if it may run here; it may name the folders of runs in `places`.

        Raises:
            InvalidRequest: it is no task, or none that may run here; names every fault.
        """

    async def create_step(
        self, task_id: str, admitted: NewTask, *, owner: str, groups: Sequence[str], notes: Sequence[str]
    ) -> None:
        """Store the task under this id, unless it is there. Its system logs begin with `notes`.

        Raises:
            LimitReached: the owner, or all, have as many as they may.
        """


@dataclass(frozen=True, slots=True)
class HostParts:
    """What all runs of a server have in common: the stores, how tasks are made and their ends are noticed, a
    bell for the runner, how much is shown and kept of logs, how many steps a run may have, and which share of
    traces is sent, if there are any."""

    runs: RunStore
    tasks: TaskStore
    creation: StepTasks
    ends: TaskEnds
    bell: Bell
    tail_bytes: int
    log_max_bytes: int
    steps_max: int
    traces_share: float | None = None


async def steps_of(run_id: str, runs: RunStore) -> AsyncIterator[StepRecord]:
    """All steps of a run, oldest first."""
    after = ""
    while steps := await runs.list_steps(run_id, after=after, limit=STEPS_PAGE_MAX):
        for step in steps:
            yield step
        after = steps[-1].id


class RunTasks:
    """The tasks that one run has made; those taken over from another run are not among them."""

    def __init__(self, run: Run, parts: HostParts) -> None:
        self._run = run
        self._parts = parts

    async def cancel(self, reason: str) -> list[str]:
        """Ask for the end of all of them; returns their ids."""
        room = asyncio.Semaphore(_CANCELS_AT_ONCE)

        async def cancel(task_id: str) -> None:
            async with room:
                await self.cancel_one(task_id, reason)

        own = [one.task_id async for one in steps_of(self._run.id, self._parts.runs) if not one.reused_from]
        await asyncio.gather(*(cancel(task_id) for task_id in own))
        return own

    async def cancel_one(self, task_id: str, reason: str) -> None:
        """Ask for the end of one; does nothing if it has ended, or is not there."""
        try:
            if await self._parts.tasks.request_cancel(task_id, reason) not in FINAL:
                self._parts.bell.ring(task_id)
        except TaskNotFound:
            return

    async def all_ended(self, task_ids: Sequence[str]) -> None:
        """Return when none of these runs any more."""

        async def ended(task_id: str) -> None:
            try:
                await self._parts.ends.wait(task_id)
            except TaskNotFound:
                return

        await asyncio.gather(*(ended(task_id) for task_id in task_ids))
