"""Follow one Pulsar job from its launch to its end, by the files that its worker writes.

What counts is what the worker wrote (`tesp_api.worker` lists the files). Pulsar is asked only where
the worker is silent, and is believed only where it cannot be wrong.
"""

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from tesp_api.errors import JobLost, PulsarRefused, PulsarUnavailable, TransitionRefused
from tesp_api.metrics.tasks import TaskMetrics
from tesp_api.pulsar.base import JobOrder, JobState, JobStatus, PulsarTransport
from tesp_api.runner import polling
from tesp_api.runner.attempt_log import STOPPED_FOR, UNSHOWN, AttemptLog, Ending
from tesp_api.runner.deadlines import Deadlines
from tesp_api.runner.event_copy import EventCopy
from tesp_api.runner.fencing import check_claim
from tesp_api.runner.gateway_outputs import GatewayOutputs
from tesp_api.runner.health import Health
from tesp_api.runner.held_jobs import HELD, QUEUED, HeldJob
from tesp_api.runner.manifest import keep_manifest
from tesp_api.settings import LogSettings, SchedulerSettings
from tesp_api.store.base import Changes, Claim, Stream, Task, TaskStore
from tesp_api.tes.states import TRANSITIONS, State
from tesp_api.tes.times import now

_log = logging.getLogger(__name__)

_UNSTARTED_GRACE_S = 2.0
"""Pulsar may say too early that a job has ended: its word must stand so long before it counts."""

_CHUNK_PAUSES_S = (0.1, 0.5, 2.0)
"""A Pulsar that fails for a moment looks as if a file were missing: a chunk is asked for so often."""

_UNTOLD_GRACE_S = 600.0
"""So long a Pulsar may fail to report on a job that has not begun, as when its scheduler is away."""

_RELAUNCH_EVERY_S = 60.0
"""At most so often a job that waits is launched again, so that a Pulsar that fails at times can recover."""

_A_MOMENT_S = 0.01

_STOPPED_CAUSES = ("ended_by_site", "time_limit")
"""What a worker may say that was told to stop too late: the site, asked to end its job, was quicker."""

_GONE = (JobState.ENDED, JobState.UNKNOWN)
_NOT_RUNNING = (*_GONE, JobState.UNTOLD)


class NeverStarted(Exception):
    """The job is over and its worker never began: nothing of the task has run.

    If Pulsar does not even know the job, it `is_unknown`: its order may still be on the way there.
    """

    def __init__(self, reason: str, *, is_unknown: bool = False) -> None:
        self.is_unknown = is_unknown
        super().__init__(reason)


@dataclass(slots=True)
class FollowJob:
    """One attempt's job. `follow` may be called anew after any failure: it starts from what is there."""

    task: Task
    claim: Claim
    order: JobOrder
    transport: PulsarTransport
    store: TaskStore
    timing: SchedulerSettings
    logs: LogSettings
    wake: asyncio.Event
    log: AttemptLog
    outputs: GatewayOutputs
    health: Health
    deadlines: Deadlines
    crowd: Callable[[str], int]
    metrics: TaskMetrics

    state: State = field(init=False)
    _events: EventCopy = field(init=False)
    _heartbeat: Mapping[str, Any] | None = field(init=False, default=None)
    _began_at: float = field(init=False, default_factory=time.monotonic)
    _launched_at: float = field(init=False, default_factory=time.monotonic)
    _silent_s: float = field(init=False, default=0.0)
    _looked_at: float = field(init=False, default_factory=time.monotonic)
    _over_since: float | None = field(init=False, default=None)
    _held: HeldJob = field(init=False)
    _has_begun: bool = field(init=False, default=False)
    _has_news: bool = field(init=False, default=False)
    _copied_bytes: dict[tuple[int, Stream], int] = field(init=False, default_factory=dict)
    _told_at: float | None = field(init=False, default=None)
    _killed_at: float | None = field(init=False, default=None)
    _passed: str = field(init=False, default="")
    _events_bytes: int = field(init=False, default=-1)
    _left_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.state = self.task.state
        if not self.order.is_new:  # looked at as seldom as by whoever followed it before
            self._began_at -= max(0.0, (now() - self.task.created_at).total_seconds())
        self._events = EventCopy(self.store, self.claim, self.task.attempt)
        job_id, destination = self.order.job_id, self.transport.name
        self._held = HeldJob(self.task.id, self.claim, job_id, destination, self.store)
        is_permitted = self.task.permit is not None and self.task.permit.worker != ""
        self._has_begun = is_permitted or self.state not in (State.QUEUED, State.CANCELING)
        self._passed = self.log.metadata.get(STOPPED_FOR, "")

    async def follow(self) -> Ending:
        """Launch the job unless its worker has begun or it is being canceled, then follow it to its end.

        Raises:
            NeverStarted: the job ended before its worker began; it may be tried again under a new id.
            JobLost: the worker vanished without a result.
            PulsarUnavailable, PulsarRefused, StoreUnavailable, ClaimLost: as they come.
        """
        await self._look_at_deadline()
        await self._heed_ring()
        if self.state is State.QUEUED and not self._has_begun and not self._passed:
            await self._launch(self.order)
            if self.order.is_new:
                self._began_at = time.monotonic()
                await self._wait()  # nothing can be there yet
        while True:
            ending = await self._look_or_ask()
            if ending is not None:
                return await self._as_meant(ending)
            await self._look_at_deadline()
            await self._wait()

    async def _launch(self, order: JobOrder) -> None:
        self._launched_at = time.monotonic()
        with self.health.watch(self.transport.name):
            await self.transport.launch(order)

    async def _look_at_deadline(self) -> None:
        """Once the task has been in its state for too long, its job is stopped as by a cancel."""
        if not self._is_stopping:
            self._left_s = await self.deadlines.left_s(self.state)
            self._passed = await self.deadlines.passed(self.state)

    async def _look_or_ask(self) -> Ending | None:
        """Look at the job's files; where that takes a slot, and the site has none, ask Pulsar itself."""
        seen = self._heartbeat
        try:
            return await self._look()
        except PulsarUnavailable as error:
            if not self.transport.min_pause_s:
                raise
            latest = self._heartbeat
            self._heartbeat = seen  # what this look has missed is looked for again
            return await self._ask_instead(error, has_ended=latest is not None and latest["ended"])

    async def _look(self) -> Ending | None:
        status = await self._status() if self._asks_first else None
        is_pending = status is not None and status.state is JobState.PENDING
        heartbeat = None if is_pending else await self._read_json("heartbeat")
        self._count_silence()
        if heartbeat is None:
            ending = await self._judge_unstarted(status or await self._status())
            if ending is not None:
                return ending
        elif heartbeat != self._heartbeat:
            self._heartbeat, self._silent_s, self._has_begun = heartbeat, 0.0, True
            ended = heartbeat["ended"]
            if heartbeat["events_bytes"] != self._events_bytes or ended:
                await self._take_events(ended=ended)
            await asyncio.gather(self._copy_logs(heartbeat["logs"]), self._events.keep(at_once=ended))
            if ended:
                return await self._take_result()
        else:
            ending = await self._judge_silence()
            if ending is not None:
                return ending
        return await self._pass_cancel_on()

    # -- what the worker says

    async def _take_events(self, *, ended: bool) -> None:
        data = await self._read("events.ndjson") or b""
        whole = data[: data.rfind(b"\n") + 1]  # the last line may be still being written
        grew = False
        for line in whole.splitlines()[self.log.last_seq + 1 :]:
            event = json.loads(line)
            state = self.log.add_event(event)
            grew = grew or event["event"] not in UNSHOWN
            if state is not None:
                await self._move(state)
        self._events.take(whole)
        self._events_bytes = len(whole)
        if grew and not ended:  # at the end the result brings all of it
            await self.store.update(self.task.id, Changes(log=self.log.as_json()), claim=self.claim)

    async def _move(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:  # known from before a restart, or being canceled
            return
        reason = f"the worker reports it (job {self.order.job_id})"
        try:
            await self.store.transition(self.task.id, state, claim=self.claim, reason=reason)
            self.state = state
            self.deadlines.entered(state)
            self.metrics.entered(self.task.id, state)
        except TransitionRefused as refusal:
            self.state = refusal.current

    async def _take_result(self) -> Ending | None:
        result = await self._read_json("result.json")
        if result is None:
            return None
        lost = await self._copy_logs(
            {
                f"{index}.{stream}": executor[f"{stream}_bytes"]
                for index, executor in enumerate(result["executors"])
                for stream in ("stdout", "stderr")
            },
            final=True,
        )
        if result.get("left"):
            result = await self._send_outputs(result)
            await self._state_now()  # a cancel may have come meanwhile
        ending = self.log.add_result(result)
        lost += await keep_manifest(self.store, self.claim, self.task.attempt, result)
        self.log.system_logs += lost
        if ending.state is State.CANCELED and self.state is State.QUEUED:
            # a driver of this attempt had given it up and closed it, and did not live to begin the next
            raise NeverStarted("its job had been closed")
        return ending

    async def _send_outputs(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Let the gateway send what the worker has left, unless the task is being stopped, or until it is."""
        if not self._is_stopping:
            try:
                async with asyncio.timeout(self._left_s if self._left_s != math.inf else None):
                    return await self.outputs.send(result)
            except TimeoutError:
                await self._look_at_deadline()
                if not self._passed:
                    raise
        return {**result, "state": State.CANCELED, "reason": "stopped before its outputs were sent"}

    async def _copy_logs(self, sizes: Mapping[str, int], *, final: bool = False) -> list[str]:
        """Bring the store's copies up to these sizes; returns what to say of parts that are lost."""
        lost = []
        for name, size_bytes in sizes.items():
            executor, _, stream = name.partition(".")
            lost += await self._copy_log(int(executor), cast(Stream, stream), size_bytes, final=final)
        return lost

    async def _copy_log(self, executor: int, stream: Stream, size_bytes: int, *, final: bool) -> list[str]:
        """Bring the store's copy of a log up to `size_bytes`, less the middle of a long one.

        A chunk that cannot be had is asked for again with the next heartbeat, or at once if it is `final`.
        """
        if not size_bytes:
            return []
        where = (self.task.attempt, executor, stream)
        lost = []
        if (executor, stream) not in self._copied_bytes:
            self._copied_bytes[executor, stream] = await self.store.log_size(self.task.id, *where)
        copied = self._copied_bytes[executor, stream]
        if copied >= size_bytes:
            return []
        chunk_bytes = self.logs.chunk_bytes
        for chunk in self._kept_chunks(copied // chunk_bytes, (size_bytes - 1) // chunk_bytes):
            name = f"logs/{executor}.{stream}.{chunk:06d}"
            read = self._read_for_certain if final else self._read
            data = await read(name)
            if data and len(data) < min(chunk_bytes, size_bytes - chunk * chunk_bytes):
                await self.transport.let_go(self.order.job_id, name)  # a report broke off in the middle of it
                data = await read(name)
            if data:
                await self.store.append_log(self.claim, *where, chunk * chunk_bytes, data)
                if len(data) == chunk_bytes:
                    await self.transport.let_go(self.order.job_id, name)
            elif final:
                lost.append(
                    f"A part of the log {executor}.{stream} cannot be read at the site (chunk {chunk})"
                )
            else:
                self._copied_bytes[executor, stream] = chunk * chunk_bytes
                return []
        keep_bytes = self.logs.max_bytes // 2
        if size_bytes > 2 * keep_bytes:
            await self.store.drop_log(self.claim, *where, keep_bytes, size_bytes - keep_bytes)
        self._copied_bytes[executor, stream] = size_bytes
        return lost

    def _kept_chunks(self, first: int, last: int) -> Iterator[int]:
        """Those from `first` to `last`, the log's last one, that the worker keeps: see its `LogStream`."""
        head = max(1, self.logs.max_bytes // 2 // self.logs.chunk_bytes)
        tail = max(1, self.logs.max_bytes // self.logs.chunk_bytes - head)
        yield from range(first, min(head, last + 1))
        yield from range(max(first, head, last - tail + 1), last + 1)

    async def _read_for_certain(self, name: str) -> bytes | None:
        for pause_s in _CHUNK_PAUSES_S:
            if data := await self._read(name):
                return data
            await asyncio.sleep(pause_s)
        return await self._read(name)

    # -- what silence means

    @property
    def _age_s(self) -> float:
        return time.monotonic() - self._began_at

    @property
    def _asks_first(self) -> bool:
        """Of a job that was launched just now; what Pulsar has forgotten is `pending` there for ever."""
        return self.transport.status_first and not self._has_begun and self._age_s < self.timing.heartbeat_s

    async def _ask_instead(self, error: PulsarUnavailable, *, has_ended: bool) -> Ending | None:
        """What can be done for a job whose files cannot be seen: have it killed, and ask Pulsar how it is.

        Raises:
            PulsarUnavailable: Pulsar does not answer either, or nothing is missing but the files.
        """
        await self.transport.check()
        await self._heed_ring()
        if has_ended:
            raise error
        if self._is_stopping:
            await self._kill()
        status = await self._status()
        self._looked_at = time.monotonic()  # nobody could hear the worker meanwhile
        if status.state in (JobState.ENDED, JobState.UNTOLD):
            if not self._is_stopping:
                raise error
            if self._over_since is not None:
                return Ending(State.CANCELED, "canceled; the job was killed")
            self._over_since = self._looked_at  # what it left may have come with its end: look once more
        elif status.state is JobState.UNKNOWN:
            await self._launch_again()
        else:
            self._over_since = None
        await self._held.tell(status, HELD if self._has_begun else QUEUED)
        return None

    async def _launch_again(self) -> None:
        """Pulsar does not have the job, so its order may be lost; unless that is not to be sent any more."""
        if self.state is State.QUEUED and not self._has_begun and not self._is_stopping:
            await check_claim(self.store, self.claim)
            await self._launch(replace(self.order, is_new=False))

    async def _judge_unstarted(self, status: JobStatus) -> Ending | None:
        """Raise NeverStarted once it is clear that the worker will not begin.

        Without a heartbeat it may have begun all the same: it died at once, or its files are gone. That
        is judged as silence, since what has begun is never begun again.
        """
        now = time.monotonic()
        is_gone = status.state is JobState.UNKNOWN and self._over_since is None
        if status.state not in _NOT_RUNNING:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now
        is_due = status.state in _NOT_RUNNING or self._age_s >= 2 * self.timing.heartbeat_s
        if not self._has_begun and status.state not in (JobState.PENDING, JobState.WAITING) and is_due:
            self._has_begun = await self._read("started") is not None
            self._silent_s = 0.0
        if self._has_begun:
            return await self._judge_silence()
        if self._may_be_forgotten(status) or (is_gone and self.transport.min_pause_s):
            await self._launch_again()
        await self._held.tell(status, QUEUED)
        grace_s = _UNTOLD_GRACE_S if status.state is JobState.UNTOLD else _UNSTARTED_GRACE_S
        if self._over_since is not None and (status.certain or now - self._over_since >= grace_s):
            is_unknown = status.state is JobState.UNKNOWN
            raise NeverStarted(status.detail or f"Pulsar says {status.state}", is_unknown=is_unknown)
        return None

    def _may_be_forgotten(self, status: JobStatus) -> bool:
        """Whether Pulsar says that the job waits, and was away since it got it.

        One that was killed when it had taken a job, and not begun it, says so for ever. It does nothing for a
        job that it still has, when that is launched again.
        """
        is_waiting = status.state in (JobState.PENDING, JobState.WAITING)
        if not is_waiting or not self.transport.status_first or self._is_stopping:
            return False
        if time.monotonic() - self._launched_at < _RELAUNCH_EVERY_S:
            return False
        return self.health.has_failed_since(self.transport.name, self._launched_at)

    def _count_silence(self) -> None:
        """What passes between two looks counts, but little of it where this process itself stood still."""
        now = time.monotonic()
        self._silent_s += min(now - self._looked_at, 2 * self.timing.heartbeat_s)
        self._looked_at = now

    async def _judge_silence(self) -> Ending | None:
        """Take the result of a worker that can say no more, or raise JobLost.

        One that a scheduler has suspended cannot say that it lives.
        """
        silent_s = self._silent_s
        await self._events.keep()
        suspicious = self._has_news or silent_s >= 2 * self.timing.heartbeat_s
        if not suspicious:
            return None
        status = await self._status()
        over = status.state in _NOT_RUNNING and (status.certain or silent_s >= 2 * self.timing.heartbeat_s)
        await self._held.tell(status, HELD)
        if not over and (silent_s < self.timing.lost_after_s or status.state is JobState.WAITING):
            return None
        with contextlib.suppress(ValueError):  # a machine that lost its power left zeros
            await self._take_events(ended=False)  # what the worker did not live to tell
        await self._events.keep(at_once=True)
        ending = await self._take_result()
        if ending is not None or self._is_stopping:
            return ending
        await check_claim(self.store, self.claim)
        await self.transport.cancel(self.order.job_id)
        raise JobLost(
            f"the worker of job {self.order.job_id} at {self.transport.name} vanished without a result:"
            f" last sign of life {silent_s:.0f} s ago, its job is {status.state}"
            + (f" ({status.detail})" if status.detail else "")
        )

    # -- cancel

    async def _as_meant(self, ending: Ending) -> Ending:
        """The ending, unless it is the work of a stop that no user has asked for."""
        is_killed = STOPPED_FOR in self.log.metadata and ending.cause in _STOPPED_CAUSES
        if self._passed and (ending.state is State.CANCELED or is_killed):
            return Ending(State.SYSTEM_ERROR, self._passed)
        self.log.metadata.pop(STOPPED_FOR, None)  # it was done before it was told to stop
        if ending.state is State.CANCELED and await self._state_now() is not State.CANCELING:
            reason = f"its worker was told to stop, which nobody has asked for here ({ending.reason})"
            return Ending(State.SYSTEM_ERROR, reason)
        return ending

    async def _note_deadline(self) -> None:
        """Before the worker is told: whoever follows the job next must know that no user wanted its end."""
        if self._passed and STOPPED_FOR not in self.log.metadata:
            self.log.metadata[STOPPED_FOR] = self._passed
            await self.store.update(self.task.id, Changes(log=self.log.as_json()), claim=self.claim)

    @property
    def _is_stopping(self) -> bool:
        return self.state is State.CANCELING or bool(self._passed)

    async def _pass_cancel_on(self) -> Ending | None:
        """Tell the worker, then Pulsar, again and again until the job is over.

        Where a scheduler lets the job wait there is no worker yet to be given time.
        """
        if not self._is_stopping:
            return None
        now = time.monotonic()
        if self._told_at is None:
            await check_claim(self.store, self.claim)
            await self._note_deadline()
            try:
                await self.transport.write_file(self.order.job_id, "cancel", b"")
            except PulsarRefused:
                if self._has_begun or (await self._status()).state is not JobState.UNKNOWN:
                    raise
                return Ending(State.CANCELED, "canceled before its job was launched")
            self._told_at = now
            hears = self._heartbeat is not None or (await self._status()).state is not JobState.WAITING
        else:
            hears = now - (self._killed_at or self._told_at) < self.timing.cancel_grace_s
        if not hears:
            await check_claim(self.store, self.claim)
            await self.transport.cancel(self.order.job_id)
            self._killed_at = now
        if self._killed_at is None:
            return None
        unstarted = self._heartbeat is None and now - self._told_at >= 2 * self.timing.cancel_grace_s
        if not unstarted and (await self._status()).state not in _NOT_RUNNING:
            return None
        return await self._take_result() or Ending(State.CANCELED, "canceled; the job was killed")

    async def _kill(self) -> None:
        """By Pulsar alone, again and again; a worker that was told is given its time."""
        now, last = time.monotonic(), self._killed_at or self._told_at
        if last is None or now - last >= self.timing.cancel_grace_s:
            await check_claim(self.store, self.claim)
            await self.transport.cancel(self.order.job_id)
            self._killed_at = now

    # -- small parts

    async def _wait(self) -> None:
        """Wait for news, a ring or the next look, which comes the later the longer the job has run."""
        age_s = self._age_s
        rings, crowd = bool(self.transport.bell), self.crowd(self.transport.name)
        pause_s = polling.pause_s(age_s, self.timing, rings=rings, crowd=crowd)
        if not self._is_stopping:
            pause_s = min(pause_s, max(self._left_s, self.timing.poll_min_s))
        pause_s = min(pause_s, self._events.due_s + _A_MOMENT_S)
        pause_s = max(pause_s, self.transport.min_pause_s)
        if self._is_stopping:
            pause_s = min(pause_s, self.timing.cancel_grace_s / 4)
        news = asyncio.ensure_future(self.transport.wait_for_news(self.order.job_id, pause_s))
        ring = asyncio.ensure_future(self.wake.wait())
        try:
            done, _ = await asyncio.wait({news, ring}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            ring.cancel()
        if news in done:
            news.result()
        self._has_news = news in done and self._age_s - age_s < pause_s
        await self._heed_ring()

    async def _heed_ring(self) -> None:
        if self.wake.is_set():
            self.wake.clear()
            await self._state_now()

    async def _state_now(self) -> State:
        self.state = await self.store.get_state(self.task.id)
        return self.state

    async def _status(self) -> JobStatus:
        return await self.transport.status(self.order.job_id)

    async def _read(self, name: str) -> bytes | None:
        return await self.transport.read_file(self.order.job_id, name)

    async def _read_json(self, name: str) -> dict[str, Any] | None:
        data = await self._read(name)
        return cast("dict[str, Any]", json.loads(data)) if data else None
