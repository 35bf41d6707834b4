"""What happens to one workflow run, as a stream: its state, its steps' states, what its engine says.

The id of an event says how far the reader is in the engine's logs. The steps are told anew to each reader, as
they are then, and from there on as they change.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from tesp_api.api.live.frames import Step, frame
from tesp_api.api.live.hub import LiveHub
from tesp_api.api.live.task_stream import LogForm, log_data
from tesp_api.errors import Fault, InvalidRequest, TaskNotFound
from tesp_api.store.base import TaskStore
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import STEPS_PAGE_MAX, RunLogName, RunStore, StepRecord
from tesp_api.tes.states import FINAL

_PART_BYTES = 64 * 1024
_FRAMES_AT_ONCE = 1000
_STREAMS: tuple[RunLogName, RunLogName] = ("stdout", "stderr")
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class RunPlace:
    """How much was told of the engine's logs, in bytes; and in this process, of the steps."""

    stdout: int = 0
    stderr: int = 0
    steps: int = 0
    state: str = ""

    def __str__(self) -> str:
        return f"{self.stdout}.{self.stderr}"

    @classmethod
    def read(cls, text: str) -> "RunPlace":
        """The place that an event's id names.

        Raises:
            InvalidRequest: it is the id of no event of a run.
        """
        parts = text.split(".")
        if len(parts) == 2 and all(one.isascii() and one.isdecimal() and len(one) < 16 for one in parts):
            return cls(int(parts[0]), int(parts[1]))
        raise InvalidRequest([Fault("Last-Event-ID", "must be the id of an event of this stream")])


class RunStream:
    """One run's stream, shared by all who follow it."""

    def __init__(self, runs: RunStore, tasks: TaskStore, hub: LiveHub, run_id: str) -> None:
        self._runs = runs
        self._tasks = tasks
        self._hub = hub
        self._id = run_id
        self._last_step = ""
        self._going_on: dict[str, tuple[StepRecord, str]] = {}
        self._frames: list[bytes] = []
        self._looking = asyncio.Lock()

    async def after(self, place: RunPlace, form: LogForm) -> Step[RunPlace]:
        """What comes after a place.

        Raises:
            RunNotFound: the run was deleted.
        """
        # The state is read first: all else is stored before the run ends.
        state = (await self._runs.glance(self._id)).state
        async with self._looking:
            await self._look_at_steps(is_last=state in RUN_FINAL)
        frames: list[bytes] = []
        if state != place.state:
            place = replace(place, state=str(state))
            frames.append(frame("state", {"state": state}, place))
        news = self._frames[place.steps : place.steps + _FRAMES_AT_ONCE]
        frames += news
        place = replace(place, steps=place.steps + len(news))
        has_more = len(self._frames) > place.steps
        for stream in _STREAMS if form != "false" else ():
            place, is_cut = await self._add_log(place, stream, form, frames)
            has_more = has_more or is_cut
        is_over = state in RUN_FINAL and not has_more
        if is_over:
            frames.append(frame("end", {"state": state}, place))
        return Step(b"".join(frames), place, is_over=is_over, has_more=has_more)

    async def _add_log(
        self, place: RunPlace, stream: RunLogName, form: LogForm, frames: list[bytes]
    ) -> tuple[RunPlace, bool]:
        before: int = getattr(place, stream)
        part = await self._runs.read_log(self._id, stream, offset=before, limit=_PART_BYTES)
        if not part.data:
            return place, False
        changed: dict[str, Any] = {stream: part.offset + len(part.data)}
        place = replace(place, **changed)
        told = {"stream": stream, **log_data(part.offset, part.data, form)}
        frames.append(frame("log", told, place))
        return place, len(part.data) >= _PART_BYTES

    async def _look_at_steps(self, *, is_last: bool) -> None:
        """Find new steps, and look at all whose tasks have not ended."""
        while steps := await self._runs.list_steps(self._id, after=self._last_step, limit=STEPS_PAGE_MAX):
            for step in steps:
                self._going_on[step.id] = (step, "")
                self._hub.wakes_too(step.task_id, self._id)
            self._last_step = steps[-1].id
        going_on = list(self._going_on.values())
        states = await asyncio.gather(*(self._state_of(step) for step, _ in going_on))
        for (step, before), state in zip(going_on, states, strict=True):
            if state != before:
                told = {"name": step.name, "task_id": step.task_id, "state": state}
                told |= {"reused_from": step.reused_from} if step.reused_from else {}
                self._frames.append(frame("step", told))
                self._going_on[step.id] = (step, state)
            if state in FINAL or (is_last and state == UNKNOWN):
                del self._going_on[step.id]

    async def _state_of(self, step: StepRecord) -> str:
        try:
            return str((await self._tasks.glance(step.task_id)).state)
        except TaskNotFound:
            return UNKNOWN
