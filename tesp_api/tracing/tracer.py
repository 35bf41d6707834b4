"""Makes spans of tasks and runs when they have ended, beside their drivers, who wait for nothing here."""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from tesp_api.bell import Bell
from tesp_api.errors import RunNotFound, StoreUnavailable, TaskNotFound
from tesp_api.metrics.instruments import Count
from tesp_api.metrics.timeline import Timeline
from tesp_api.store.base import TaskStore
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import RunStore
from tesp_api.tes.states import FINAL
from tesp_api.tes.traceparent import trace_of
from tesp_api.tracing.run_spans import run_spans
from tesp_api.tracing.span import Emit, is_sent
from tesp_api.tracing.task_spans import task_spans

_QUEUE_MAX = 10_000
_KNOWN_MAX = 20_000
_PART_BYTES = 256 * 1024
_EVENTS_MAX_BYTES = 2 * 1024**2
_TRIES = 5
_PAUSE_S = 1.0
_LAST_S = 2.0

_log = logging.getLogger(__name__)


class Tracer:
    """One per process. Is told by bells what has ended, and reads from the store what became of it."""

    def __init__(self, tasks: TaskStore, runs: RunStore, emit: Emit, share: float, dropped: Count) -> None:
        self._dropped = dropped
        self._tasks, self._runs = tasks, runs
        self._emit, self._share = emit, share
        self._queue: asyncio.Queue[tuple[Callable[[str], Awaitable[bool]], str]] = asyncio.Queue(_QUEUE_MAX)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._working: asyncio.Task[None] | None = None

    async def start(self, ended_tasks: Bell, ended_runs: Bell) -> None:
        """Begin to listen. The bells may also ring for what has not ended, and several times."""
        ended_tasks.listen(lambda task_id: self._note(self._trace_task, task_id))
        ended_runs.listen(lambda run_id: self._note(self._trace_run, run_id))
        self._working = asyncio.create_task(self._work(), name="make spans")

    async def aclose(self) -> None:
        """Make spans of what is known to have ended, if that does not take long."""
        if self._working is None:
            return
        try:
            async with asyncio.timeout(_LAST_S):
                await self._queue.join()
        except TimeoutError:
            self._dropped.add(by=self._queue.qsize())
        self._working.cancel()
        await asyncio.gather(self._working, return_exceptions=True)

    def _note(self, trace: Callable[[str], Awaitable[bool]], one_id: str) -> None:
        if one_id in self._known:
            return
        try:
            self._queue.put_nowait((trace, one_id))
        except asyncio.QueueFull:
            self._dropped.add()
            return
        self._known[one_id] = None
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    async def _work(self) -> None:
        while True:
            trace, one_id = await self._queue.get()
            try:
                if not await self._traced(trace, one_id):
                    self._known.pop(one_id, None)  # it goes on
            except Exception:
                _log.exception("no spans can be made of %s", one_id)
                self._dropped.add()
            finally:
                self._queue.task_done()

    async def _traced(self, trace: Callable[[str], Awaitable[bool]], one_id: str) -> bool:
        for _ in range(_TRIES):
            try:
                return await trace(one_id)
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE_S)
            except (TaskNotFound, RunNotFound):
                return True
        self._dropped.add()
        return True

    async def _trace_task(self, task_id: str) -> bool:
        """Whether it has ended."""
        task = await self._tasks.get(task_id)
        if task.state not in FINAL:
            return False
        if not is_sent(trace_of(task.id, task.warnings), self._share):
            return True
        history = await self._tasks.history(task_id)
        timelines = {number: await self._timeline(task_id, number) for number in range(1, task.attempt + 1)}
        for span in task_spans(task, history, timelines):
            self._emit(span)
        return True

    async def _timeline(self, task_id: str, attempt: int) -> Timeline:
        data = bytearray()
        while len(data) < _EVENTS_MAX_BYTES:
            part = await self._tasks.read_log(
                task_id, attempt, 0, "events", offset=len(data), limit=_PART_BYTES
            )
            if not part.data or part.offset != len(data):
                break
            data += part.data
        timeline = Timeline()
        for line in data.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                timeline.add_event(event)
        return timeline

    async def _trace_run(self, run_id: str) -> bool:
        """Whether it has ended."""
        run = await self._runs.get(run_id)
        if run.state not in RUN_FINAL:
            return False
        if is_sent(trace_of(run.id, run.system_logs), self._share):
            for span in run_spans(run):
                self._emit(span)
        return True
