"""What clients see of a task: plain JSON, with no nulls and nothing that they did not send.

Stored documents were validated when they came in, so nothing is validated on the way out.
Source: TES 1.1, parameter `view`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from tesp_api.tes.states import State, shown_to_1_0
from tesp_api.tes.tasks import View
from tesp_api.tes.times import rfc3339

Json = dict[str, Any]


_NEW_IN_1_1 = {
    "inputs": frozenset({"streamable"}),
    "outputs": frozenset({"path_prefix"}),
    "executors": frozenset({"ignore_error"}),
}
_NEW_RESOURCES_IN_1_1 = frozenset({"backend_parameters", "backend_parameters_strict"})


class StreamId(NamedTuple):
    """Names one output stream of one executor; attempts are numbered from 1, executors from 0."""

    attempt: int
    executor: int
    stream: str


Tails = Mapping[StreamId, str]


class ShownTask(Protocol):
    """What a view needs to know of a task; the store's tasks fit."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def request(self) -> Mapping[str, Any]: ...
    @property
    def logs(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


def minimal_view(task_id: str, state: State, *, tes_1_0: bool) -> Json:
    """The id and the state, which is all that MINIMAL shows."""
    return {"id": task_id, "state": str(shown_to_1_0(state) if tes_1_0 else state)}


def task_view(task: ShownTask, view: View, *, tes_1_0: bool, tails: Tails | None = None) -> Json:
    """The task in `view`; `tails` are the ends of the executors' outputs that FULL shows."""
    shown = minimal_view(task.id, task.state, tes_1_0=tes_1_0)
    if view is View.MINIMAL:
        return shown
    shown |= _request_for_1_0(task.request) if tes_1_0 else task.request
    if view is View.BASIC and "inputs" in shown:
        shown["inputs"] = [_without(item, "content") for item in shown["inputs"]]
    shown["creation_time"] = rfc3339(task.created_at)
    shown["logs"] = [
        _full_log(log, attempt, tails or {}) if view is View.FULL else _basic_log(log)
        for attempt, log in enumerate(task.logs, start=1)
    ]
    if view is View.FULL and task.warnings and shown["logs"]:
        last = shown["logs"][-1]
        last["system_logs"] = [*task.warnings, *last.get("system_logs", ())]
    return shown


def ended_streams(task: ShownTask) -> list[StreamId]:
    """The streams that FULL shows: those of the executors that have ended.

    An executor that still runs is not listed, since clients take the exit code of each one listed.
    """
    return [
        StreamId(attempt, executor, stream)
        for attempt, log in enumerate(task.logs, start=1)
        for executor, entry in enumerate(log.get("logs", ()))
        if _has_ended(entry)
        for stream in ("stdout", "stderr")
    ]


def decode_tail(data: bytes, *, cut: bool) -> str:
    """The end of an output as text; what is not UTF-8 becomes U+FFFD.

    Where it was `cut`, the rest of a character that the cut went through is dropped.
    """
    skipped = 0
    while cut and skipped < min(3, len(data)) and data[skipped] & 0xC0 == 0x80:
        skipped += 1
    return data[skipped:].decode(errors="replace")


def _request_for_1_0(request: Mapping[str, Any]) -> Json:
    """The request without the fields that came with TES 1.1: clients of 1.0 stumble over unknown ones."""
    shown = dict(request)
    for part, fields in _NEW_IN_1_1.items():
        if part in shown:
            shown[part] = [_leave_out(item, fields) for item in shown[part]]
    if "resources" in shown:
        shown["resources"] = _leave_out(shown["resources"], _NEW_RESOURCES_IN_1_1)
    return shown


def _leave_out(item: Mapping[str, Any], fields: frozenset[str]) -> Json:
    return {key: value for key, value in item.items() if key not in fields}


def _basic_log(log: Mapping[str, Any]) -> Json:
    """A tesTaskLog with the fields that it must have, and without what only FULL shows."""
    return {
        **_without(log, "system_logs"),
        "logs": [_present(entry) for entry in log.get("logs", ()) if _has_ended(entry)],
        "outputs": [
            {**_present(output), "size_bytes": str(output["size_bytes"])} for output in log.get("outputs", ())
        ],
    }


def _full_log(log: Mapping[str, Any], attempt: int, tails: Tails) -> Json:
    shown = _basic_log(log)
    shown["logs"] = [
        _present(entry) | _streams(attempt, executor, tails)
        for executor, entry in enumerate(log.get("logs", ()))
        if _has_ended(entry)
    ]
    if log.get("system_logs"):
        shown["system_logs"] = list(log["system_logs"])
    return shown


def _streams(attempt: int, executor: int, tails: Tails) -> Json:
    names = (StreamId(attempt, executor, stream) for stream in ("stdout", "stderr"))
    return {name.stream: tails[name] for name in names if name in tails}


def _has_ended(entry: Mapping[str, Any]) -> bool:
    return entry.get("exit_code") is not None


def _present(item: Mapping[str, Any]) -> Json:
    return {key: value for key, value in item.items() if value is not None}


def _without(item: Mapping[str, Any], left_out: str) -> Json:
    return {key: value for key, value in item.items() if value is not None and key != left_out}
