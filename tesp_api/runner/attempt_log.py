"""One attempt's entry in a task's `logs`, built from what the worker reports.

Source: TES 1.1, tesTaskLog. An executor is listed once it has ended, since clients need its exit code;
stdout and stderr are kept beside the task and joined to the entry when it is shown.

Whoever rules the site can make the worker's files say anything: what is taken from them becomes texts and
numbers that can be stored and shown, since one entry that cannot be would break the lists of all tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tesp_api.metrics.timeline import Timeline
from tesp_api.runner import manifest
from tesp_api.tes.states import State

UNSHOWN = frozenset({"transfer", "staging_out", "ended"})
"""Events of which the standard's log shows nothing."""

STOPPED_FOR = "stopped_for"
"""In the metadata: the deadline for which the job was told to stop, which nobody has asked for."""

_INT32 = range(-(2**31), 2**31)  # what the standard says of exit codes

_STATE_OF_EVENT = {"initializing": State.INITIALIZING, "executor_started": State.RUNNING}


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended: the task's final state and why, in one line.

    `cause` is why for programs: the worker's (see `tesp_api.worker`), "never_started" or "lost"; "" if none
    matters. Only without `may_have_run` is it certain that no executor has started, if that is what `worker`
    says, no other one has; without one, if none was permitted to. `is_last` says that no other attempt may
    follow, since this one cannot be known to be over.
    """

    state: State
    reason: str
    cause: str = ""
    may_have_run: bool = True
    worker: str = ""
    is_last: bool = False


@dataclass(slots=True)
class AttemptLog:
    """Grows with the worker's events; what `result.json` says replaces what the events said.

    Events that were seen already (by their `seq`) are passed over, so the whole file may be given
    again and again. What an earlier driver has stored stands until the first event is read anew.
    """

    metadata: dict[str, str]
    start_time: str | None = None
    end_time: str | None = None
    executors: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    system_logs: list[str] = field(default_factory=list)
    last_seq: int = -1
    timeline: Timeline = field(default_factory=Timeline)

    @classmethod
    def resumed(cls, metadata: Mapping[str, str], stored: Mapping[str, Any]) -> "AttemptLog":
        """The entry as a driver before this one has left it; `stored` is empty if there was none."""
        return cls(
            metadata={**stored.get("metadata", {}), **metadata},
            start_time=stored.get("start_time"),
            end_time=stored.get("end_time"),
            executors=list(stored.get("logs", ())),
            outputs=list(stored.get("outputs", ())),
            system_logs=list(stored.get("system_logs", ())),
        )

    def add_event(self, event: Mapping[str, Any]) -> State | None:
        """Take one event in; returns the state that the task is in because of it, if it tells one."""
        if event["seq"] <= self.last_seq:
            return None
        if self.last_seq < 0:
            self.executors, self.system_logs = [], []
        self.last_seq = event["seq"]
        self.timeline.add_event(event)
        if self.start_time is None:
            self.start_time = _text(event["at"])
        if event["event"] == "executor_ended":
            self.executors.append(_executor_entry(event))
        elif event["event"] == "message":
            self.system_logs.append(_text(event["text"]))
        return _STATE_OF_EVENT.get(event["event"])

    def add_result(self, result: Mapping[str, Any]) -> Ending:
        """Take the worker's final word in."""
        self.timeline.add_result(result)
        self.start_time = _text(result.get("started_at") or self.start_time or "") or None
        self.end_time = _text(result.get("ended_at") or "") or None
        self.executors = [_executor_entry(executor) for executor in result.get("executors", ())]
        self.outputs = [
            {
                "url": _text(output["url"]),
                "path": _text(output["path"]),
                "size_bytes": str(max(0, int(output["size_bytes"]))),
            }
            for output in result.get("outputs", ())
        ]
        self.system_logs = [_text(line) for line in result.get("system_logs", ())]
        self.metadata |= {_text(key): _text(value) for key, value in result.get("metadata", {}).items()}
        self.metadata |= manifest.as_metadata(result)
        return Ending(
            State(result["state"]),
            _text(result.get("reason") or "executors and outputs are done"),
            _text(result.get("cause") or ""),
            may_have_run=result.get("begun") != 0,
            worker=_text(result.get("worker") or ""),
        )

    def close(self, end_time: str, message: str | None = None) -> None:
        """End the entry of an attempt; `message` is what went wrong outside the worker."""
        self.end_time = self.end_time or end_time
        if message and message not in self.system_logs:
            self.system_logs.append(message)

    def as_json(self) -> dict[str, Any]:
        """The tesTaskLog, without anything that is not known."""
        entry: dict[str, Any] = {"logs": list(self.executors), "outputs": list(self.outputs)}
        for key, value in (
            ("start_time", self.start_time),
            ("end_time", self.end_time),
            ("metadata", self.metadata),
            ("system_logs", self.system_logs),
        ):
            if value:
                entry[key] = value
        return entry


def _executor_entry(source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "start_time": _text(source["started_at"]),
        "end_time": _text(source["ended_at"]),
        "exit_code": max(_INT32.start, min(int(source["exit_code"]), _INT32.stop - 1)),
    }


def _text(value: object) -> str:
    """What the site says as a text that every store and client takes."""
    return str(value).encode(errors="replace").decode()
