"""What happens to one task, as a stream: its states, what its worker says, what its executors write.

Where a reader stands is a `TaskPlace`, which is the id of each event. It says how far the reader is in what
the store has, and nothing of this process: so a stream can be taken up again after a restart, and at any
other server of the same database.
"""

import asyncio
import base64
import codecs
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

from tesp_api.api.live.frames import Step, frame
from tesp_api.errors import Fault, InvalidRequest
from tesp_api.store.base import HistoryEntry, LogPart, Standing, Stream, Task, TaskStore
from tesp_api.tes.states import FINAL
from tesp_api.tes.times import rfc3339

LogForm = Literal["text", "base64", "false"]

_PART_BYTES = 64 * 1024
_EVENTS_BYTES = 2 * 1024**2
"""No line is longer: the store has no more of one attempt (`runner/event_copy.py`)."""
_STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
_FIELDS = 8
_MOST = 2**53


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """How much was told: of the history, and of one attempt.

    `seq` events, which are `gateway` and `worker` bytes of the attempt's two logs of events; all that the
    executors before `executor` wrote, and `stdout` and `stderr` bytes of that one.
    """

    attempt: int
    told: int = 0
    seq: int = 0
    gateway: int = 0
    worker: int = 0
    executor: int = 0
    stdout: int = 0
    stderr: int = 0

    def __str__(self) -> str:
        return ".".join(map(str, astuple(self)))

    @classmethod
    def read(cls, text: str) -> "TaskPlace":
        """The place that an event's id names.

        Raises:
            InvalidRequest: it is the id of no event of a task.
        """
        parts = text.split(".")
        if len(parts) == _FIELDS and all(
            one.isascii() and one.isdecimal() and len(one) < 17 for one in parts
        ):
            numbers = [int(one) for one in parts]
            if max(numbers) <= _MOST:
                return cls(*numbers)
        raise _no_event()


async def check_place(store: TaskStore, task_id: str, place: TaskPlace) -> None:
    """Return if the place is one between events: what comes after it can be read line by line.

    Raises:
        InvalidRequest: it is the id of no event of the task.
    """
    logs: tuple[tuple[Stream, int], ...] = (("gateway", place.gateway), ("events", place.worker))
    for stream, offset in logs:
        if offset:
            part = await store.read_log(task_id, place.attempt, 0, stream, offset=offset - 1, limit=1)
            if part != LogPart(offset - 1, b"\n"):
                raise _no_event()


def _no_event() -> InvalidRequest:
    return InvalidRequest([Fault("Last-Event-ID", "must be the id of an event of this stream")])


@dataclass(frozen=True, slots=True)
class _Look:
    """What the store has behind a place, and what of that is certain to be all."""

    standing: Standing
    history: list[HistoryEntry]
    gateway: list[bytes]
    worker: list[bytes]
    is_cut: bool


class TaskStream:
    """One task's stream, shared by all who follow it."""

    def __init__(self, store: TaskStore, task: Task) -> None:
        self._store = store
        self._id = task.id
        self._executors = len(task.request["executors"])
        self._ended: dict[int, dict[int, tuple[int, int]]] = {}
        self._scanned: dict[int, int] = {}

    async def after(self, place: TaskPlace, form: LogForm) -> Step[TaskPlace]:
        """What comes after a place.

        Raises:
            TaskNotFound: the task was deleted.
        """
        look = await self._look(place)
        frames: list[bytes] = []
        for entry in look.history[place.told :]:
            place = replace(place, told=place.told + 1)
            frames.append(frame("state", _state(entry), place))
        for kind, line in in_order(look.gateway, look.worker):
            place = _behind(place, kind, line)
            frames.append(frame("worker", _worker(place, line), place))
        is_past = look.standing.attempt > place.attempt or look.standing.state in FINAL
        if look.is_cut:
            return Step(b"".join(frames), place, has_more=True)
        is_all = True
        if form != "false" and place.attempt:
            place, is_all = await self._add_logs(place, form, frames, is_past=is_past)
        if not is_all:
            return Step(b"".join(frames), place, has_more=True)
        if look.standing.attempt > place.attempt:
            place = TaskPlace(place.attempt + 1, place.told)
            return Step(b"".join(frames), place, has_more=True)
        is_over = look.standing.state in FINAL
        if is_over:
            frames.append(frame("end", {"state": look.standing.state}, place))
        return Step(b"".join(frames), place, is_over=is_over)

    async def _look(self, place: TaskPlace) -> _Look:
        # The state is read first: the runner stores all the rest before it ends a task, or an attempt.
        standing = await self._store.get_standing(self._id)
        history, events = await asyncio.gather(self._store.history(self._id), self._read_events(place))
        (gateway, worker), is_cut = events
        return _Look(standing, history, gateway, worker, is_cut)

    async def _read_events(self, place: TaskPlace) -> tuple[tuple[list[bytes], list[bytes]], bool]:
        """New lines of the gateway and of the worker, and whether there are more of them."""
        if not place.attempt:
            return ([], []), False
        # What the gateway sends comes after all of the worker's, and must not be read before that is there.
        gateway = await self._read(place.attempt, 0, "gateway", place.gateway, _EVENTS_BYTES)
        worker = await self._read(place.attempt, 0, "events", place.worker, _EVENTS_BYTES)
        await self._scan(place, worker)
        lines = (_whole_lines(gateway), _whole_lines(worker))
        is_cut = max(len(gateway.data), len(worker.data)) >= _EVENTS_BYTES
        if is_cut and len(worker.data) >= _EVENTS_BYTES:
            lines = ([line for line in lines[0] if _is_input(line)], lines[1])  # the others come after these
        return lines, is_cut and any(lines)

    async def _scan(self, place: TaskPlace, worker: LogPart) -> None:
        """Learn how much the executors that have ended wrote, be the events that say it told or not."""
        scanned = self._scanned.get(place.attempt, 0)
        if scanned != place.worker:
            worker = await self._read(place.attempt, 0, "events", scanned, _EVENTS_BYTES)
        lines = _whole_lines(worker)
        ended = self._ended.setdefault(place.attempt, {})
        for event in map(json.loads, lines):
            number, *sizes = (event.get(key) for key in ("executor", "stdout_bytes", "stderr_bytes"))
            if event["event"] == "executor_ended" and all(isinstance(one, int) for one in (number, *sizes)):
                ended[number] = (sizes[0], sizes[1])
            elif event["event"] == "executor_started" and isinstance(number, int):
                ended.setdefault(number - 1, (0, 0))  # a worker of an older version does not tell
        self._scanned[place.attempt] = scanned + sum(map(len, lines))

    async def _read(self, attempt: int, executor: int, stream: Stream, offset: int, limit: int) -> LogPart:
        return await self._store.read_log(self._id, attempt, executor, stream, offset=offset, limit=limit)

    async def _add_logs(
        self, place: TaskPlace, form: LogForm, frames: list[bytes], *, is_past: bool
    ) -> tuple[TaskPlace, bool]:
        """Add what the executors wrote, one after the other; whether that is all there is for now."""
        read_bytes = 0
        while place.executor < self._executors:
            parts = await asyncio.gather(
                *(
                    self._read(place.attempt, place.executor, stream, getattr(place, stream), _PART_BYTES)
                    for stream in _STREAMS
                )
            )
            before, sizes = place, self._ended.get(place.attempt, {}).get(place.executor)
            for stream, part in zip(_STREAMS, parts, strict=True):
                place = _add_part(place, stream, part, form, frames, may_cut=is_past or sizes is not None)
            if place != before:  # a part ends where something was dropped: what comes behind it?
                read_bytes += sum(len(part.data) for part in parts)
                if read_bytes >= _PART_BYTES:
                    return place, False
                continue
            is_told = sizes is not None and place.stdout >= sizes[0] and place.stderr >= sizes[1]
            if not is_told and not is_past:
                break
            place = replace(place, executor=place.executor + 1, stdout=0, stderr=0)
        return place, True


def _add_part(
    place: TaskPlace, stream: Stream, part: LogPart, form: LogForm, frames: list[bytes], *, may_cut: bool
) -> TaskPlace:
    """Add a piece of a log; `may_cut` a character, where the rest of it may never come."""
    data = part.data
    if form == "text" and not may_cut:
        data = _whole_characters(data)
    if not data:
        return place
    before: int = getattr(place, stream)
    changed: dict[str, Any] = {stream: part.offset + len(data)}
    place = replace(place, **changed)
    told: dict[str, Any] = {
        "attempt": place.attempt,
        "executor": place.executor,
        "stream": stream,
        **log_data(part.offset, data, form),
    }
    told |= {"dropped_bytes": part.offset - before} if part.offset > before else {}
    frames.append(frame("log", told, place))
    return place


def log_data(offset: int, data: bytes, form: LogForm) -> dict[str, Any]:
    """A piece of a log as events tell it."""
    shown = base64.b64encode(data).decode() if form == "base64" else data.decode(errors="replace")
    return {"offset": offset, "length": len(data), "text" if form == "text" else form: shown}


def _whole_characters(data: bytes) -> bytes:
    """Without a character of UTF-8 at the end that is not complete."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return data[: len(data) - len(decoder.getstate()[0])]


def _whole_lines(part: LogPart) -> list[bytes]:
    return part.data[: part.data.rfind(b"\n") + 1].splitlines(keepends=True)


def _is_input(line: bytes) -> bool:
    return bool(json.loads(line)["direction"] == "input")


def in_order(gateway: list[bytes], worker: list[bytes]) -> list[tuple[str, bytes]]:
    """Events as they came: a gateway brings inputs before the worker begins, and sends what that has left."""
    before = [("gateway", line) for line in gateway if _is_input(line)]
    after = [("gateway", line) for line in gateway if not _is_input(line)]
    return [*before, *(("worker", line) for line in worker), *after]


def _behind(place: TaskPlace, kind: str, line: bytes) -> TaskPlace:
    changed: dict[str, Any] = {kind: getattr(place, kind) + len(line), "seq": place.seq + 1}
    return replace(place, **changed)


def _state(entry: HistoryEntry) -> Mapping[str, Any]:
    return {
        "at": rfc3339(entry.at),
        "state": entry.state,
        "attempt": entry.attempt,
        "reason": entry.reason,
    }


def _worker(place: TaskPlace, line: bytes) -> Mapping[str, Any]:
    return {"attempt": place.attempt, **event_shown(place.seq - 1, line)}


def event_shown(seq: int, line: bytes) -> dict[str, Any]:
    """An event as clients see it: what is not known is absent."""
    event: dict[str, Any] = json.loads(line)
    known = {key: value for key, value in event.items() if value is not None and key != "seq"}
    return {"seq": seq, "time": known.pop("at"), **known}
