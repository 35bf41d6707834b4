"""What an engine can have done (`RunHost`), done in the stores, in the name of the run's owner."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from weakref import WeakValueDictionary

from tesp_api.errors import (
    Fault,
    InvalidRequest,
    LimitReached,
    RunCanceled,
    RunNotFound,
    StoreUnavailable,
    TaskNotFound,
)
from tesp_api.store.base import CREATED_BY, Claim, Task
from tesp_api.store.log_tails import read_tails
from tesp_api.store.run_states import RUN_TRANSITIONS
from tesp_api.store.runs import Run, StepRecord
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.tasks import View
from tesp_api.tes.validation import NewTask
from tesp_api.tes.views import task_view
from tesp_api.tracing.run_spans import step_line
from tesp_api.wes.engines.base import LogName, RunFiles, Step, StepEnd
from tesp_api.wes.run_tasks import HostParts, RunTasks, steps_of

_log = logging.getLogger(__name__)

RUN_TAG = "wes.run_id"
STEP_TAG = "wes.step"
"""The tags by which a run's tasks are found among all of TES."""

_RETRY_S = 0.5
_LIMIT_LOOK_S = 2.0
_LATE_S = 5.0


class StoreRunHost:
    """The host of one run, under the claim with which it is driven. All methods belong to one event loop."""

    def __init__(
        self, run: Run, claim: Claim, files: RunFiles, places: Sequence[str], parts: HostParts
    ) -> None:
        self.files = files
        self._run = run
        self._claim = claim
        self._places = places
        self._parts = parts
        self._tasks = RunTasks(run, parts)
        self._steps: dict[str, StepRecord] = {}
        self._new_steps = 0
        """How many are being written down."""
        self._created: set[str] = set()
        self._reused: dict[str, str] = {}
        """From which runs tasks were taken over."""
        self._making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._storing: set[asyncio.Future[None]] = set()
        self._refuses = False
        self._told_limit = False
        self._log_door = asyncio.Lock()
        self._log_bytes: dict[LogName, int] = {}

    async def load(self) -> None:
        """Look which steps the run has already."""
        self._steps = {step.key: step async for step in steps_of(self._run.id, self._parts.runs)}

    @property
    def steps(self) -> int:
        """How many steps the run has come to."""
        return len(self._steps)

    async def settle(self) -> None:
        """Submit nothing more, and return when every task that was being stored is there, or is not."""
        self._refuses = True
        if self._storing:
            await asyncio.wait(set(self._storing))

    async def submit(self, step: Step) -> str:
        """See `RunHost.submit`."""
        making = self._making.setdefault(step.key, asyncio.Lock())
        async with making:
            self._check_open()
            record, admitted = self._steps.get(step.key), None
            if record is None:
                record, admitted = await self._counted_record(step)
                self._steps[step.key] = record
            elif record.reused_from and not await self._is_there(record.task_id):
                record, admitted = self._own_record(step), self._admitted(step)
                await self._parts.runs.replace_step(record, claim=self._claim)
                self._steps[step.key] = record
            if record.reused_from:
                self._reused[record.task_id] = record.reused_from
            elif record.task_id not in self._created:
                if admitted or not await self._is_there(record.task_id):
                    await self._create(step, record.task_id, admitted or self._admitted(step))
                self._created.add(record.task_id)
        return record.task_id

    async def known_keys(self) -> Collection[str]:
        """See `RunHost.known_keys`."""
        return list(self._steps)

    async def wait(self, task_id: str) -> StepEnd:
        """See `RunHost.wait`."""
        reused_from = self._reused.get(task_id, "")
        while True:
            try:
                await self._parts.ends.wait(task_id)
                task = await self._parts.tasks.get(task_id)
                [tails] = await read_tails(self._parts.tasks, [task], self._parts.tail_bytes)
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            except TaskNotFound:
                log = {"system_logs": ["the task was deleted before its run had seen its end"]}
                return StepEnd(task_id, State.SYSTEM_ERROR, log)
            logs = task_view(task, View.FULL, tes_1_0=False, tails=tails)["logs"]
            return StepEnd(task_id, task.state, logs[-1] if logs else {}, task.request, reused_from)

    async def cancel(self, task_id: str, reason: str) -> None:
        """See `RunHost.cancel`."""
        if task_id in self._created:
            await self._tasks.cancel_one(task_id, reason)

    async def log(self, name: LogName, data: bytes) -> None:
        """See `RunHost.log`. What is more than the settings allow to keep is dropped, which is said once."""
        async with self._log_door:
            if name not in self._log_bytes:
                self._log_bytes[name] = await self._parts.runs.log_size(self._run.id, name)
            room = self._parts.log_max_bytes - self._log_bytes[name]
            if room <= 0 or not data:
                return
            if len(data) > room:
                data = data[:room] + b"\n(the rest is not kept: logs.max_bytes)\n"
            await self._parts.runs.append_log(name, data, claim=self._claim)
            self._log_bytes[name] += len(data)

    # --

    def _check_open(self) -> None:
        if self._refuses:
            raise RunCanceled(self._run.id)

    def _own_record(self, step: Step) -> StepRecord:
        record_id = new_task_id()
        return StepRecord(record_id, self._run.id, step.key, step.name, record_id)

    async def _counted_record(self, step: Step) -> tuple[StepRecord, NewTask | None]:
        """As `_new_record`. Raises: InvalidRequest if the run has as many steps as it may."""
        if len(self._steps) + self._new_steps >= self._parts.steps_max:
            said = f"the run has {self._parts.steps_max} steps, as many as it may have (wes.steps_max)"
            raise InvalidRequest([Fault(f"step {step.name}", said)])
        self._new_steps += 1
        try:
            return await self._new_record(step)
        finally:
            self._new_steps -= 1

    async def _new_record(self, step: Step) -> tuple[StepRecord, NewTask | None]:
        """The step as it is written down, before there is a task: whoever comes back makes the same one.

        With it the task, if it is one of the run's own. What is refused leaves nothing behind.
        """
        record, admitted = self._own_record(step), None
        if earlier := await self._reusable(step):
            record = StepRecord(record.id, record.run_id, step.key, step.name, *earlier)
        else:
            admitted = self._admitted(step)
        kept = await self._parts.runs.put_step(record, claim=self._claim)
        if kept.reused_from and kept == record:
            said = f"{step.name}: taken over from run {kept.reused_from} (task {kept.task_id})\n"
            await self.log("stderr", said.encode(errors="replace"))
        return kept, admitted

    def _admitted(self, step: Step) -> NewTask:
        """The task that the step is. Raises: InvalidRequest if it may not run here."""
        tags = {**(step.document.get("tags") or {}), RUN_TAG: self._run.id, STEP_TAG: step.name}
        document = {"name": step.name, **step.document, "tags": tags}
        return self._parts.creation.admit_step(document, owner=self._run.owner, places=self._places)

    async def _reusable(self, step: Step) -> tuple[str, str] | None:
        """The task of the same step in the run that is resumed, if that has succeeded, and whose it was."""
        if not self._run.resumes:
            return None
        for key in (step.key, *step.later_keys):
            earlier = await self._parts.runs.find_step_by_key(self._run.resumes, key)
            if earlier is not None and await self._has_succeeded(earlier.task_id, step):
                return earlier.task_id, earlier.reused_from or self._run.resumes
        return None

    async def _has_succeeded(self, task_id: str, step: Step) -> bool:
        try:
            task = await self._parts.tasks.get(task_id)
        except TaskNotFound:
            return False
        return task.state is State.COMPLETE and _exit_code(task) in step.success_codes

    async def _is_there(self, task_id: str) -> bool:
        try:
            await self._parts.tasks.glance(task_id)
        except TaskNotFound:
            return False
        return True

    async def _create(self, step: Step, task_id: str, admitted: NewTask) -> None:
        """Store the task, and wait where its owner has as many as the limits allow.

        A task that comes to be after the run was canceled, or lost, is canceled itself.
        """
        began = time.monotonic()
        while True:
            try:
                await self._store(task_id, admitted, f"step {step.name} of workflow run {self._run.id}")
                break
            except LimitReached as error:
                await self._tell_limit(step, error)
                await asyncio.sleep(min(error.retry_after_s, _LIMIT_LOOK_S))
            self._check_open()
        is_late = time.monotonic() - began > _LATE_S
        if self._refuses or (is_late and await self._is_over()):
            await self._tasks.cancel_one(task_id, "its workflow run is being canceled")
            raise RunCanceled(self._run.id)

    async def _tell_limit(self, step: Step, error: LimitReached) -> None:
        """Say once what the run waits for."""
        if not self._told_limit:
            self._told_limit = True
            await self._parts.runs.tell(f"step {step.name} waits: {error}", claim=self._claim)

    async def _store(self, task_id: str, admitted: NewTask, note: str) -> None:
        """Store the task; goes on if the caller is cancelled, for it cannot be taken back (see `settle`)."""
        storing = asyncio.ensure_future(
            self._parts.creation.create_step(
                task_id,
                admitted,
                owner=self._run.owner,
                groups=self._run.groups,
                notes=(note, *self._notes()),
            )
        )
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)
        await asyncio.shield(storing)

    def _notes(self) -> Iterator[str]:
        """What all tasks of the run say of where they come from."""
        yield from (line for line in self._run.system_logs if line.startswith(CREATED_BY))
        if self._parts.traces_share is not None:
            yield step_line(self._run, self._parts.traces_share)

    async def _is_over(self) -> bool:
        """Whether the run has ended or was canceled while this server stood still."""
        try:
            return State.CANCELING not in RUN_TRANSITIONS[(await self._parts.runs.glance(self._run.id)).state]
        except RunNotFound:
            return True


def _exit_code(task: Task) -> int | None:
    """That of the last executor of the last attempt; None if it is not known."""
    executors = (task.logs[-1].get("logs") or ()) if task.logs else ()
    return executors[-1].get("exit_code") if executors else None
