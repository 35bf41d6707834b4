"""The tasks that the API's benchmark stores, the same kind for every store and every number of them.

Task `n` of `total` is the n-th oldest. All have ended, so that the live server has nothing to run.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tesp_api.store.base import HistoryEntry, Task
from tesp_api.tes.states import State

HOT_TASKS = 900
HOT_TAG = ("run", "hot")
OWNER = "anybody"

_BEGAN_AT = datetime(2025, 1, 1, tzinfo=UTC)
_ENDS = (State.COMPLETE, State.COMPLETE, State.COMPLETE, State.EXECUTOR_ERROR)


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished task with its history and the ends of its executor's output."""

    task: Task
    history: tuple[HistoryEntry, ...]
    stdout: bytes


def stored_task(number: int, total: int) -> Stored:
    """Task `number`, counted from 0, of a store with `total`."""
    created_at = _BEGAN_AT + timedelta(seconds=number)
    state = _ENDS[number % len(_ENDS)]
    task = Task(
        id=_id(created_at, number),
        owner=OWNER,
        state=state,
        created_at=created_at,
        request=request_of(number, total),
        logs=(_log(created_at, state),),
        attempt=1,
        live=False,
    )
    steps = (State.QUEUED, State.INITIALIZING, State.RUNNING, state)
    history = tuple(
        HistoryEntry(
            created_at + timedelta(seconds=seconds),
            step,
            min(seconds, 1),
            "created" if not seconds else "worker",
        )
        for seconds, step in enumerate(steps)
    )
    return Stored(task, history, b"%d reads\n" % number)


def request_of(number: int, total: int) -> dict[str, Any]:
    """The task document. Tags: `run` is "hot" on 900 tasks spread over all, `lab` one of three on each."""
    tags = {"lab": ("north", "south", "west")[number % 3], "sample": f"S{number:07d}"}
    if is_hot(number, total):
        tags["run"] = "hot"
    return {
        "name": f"{'align' if number % 2 else 'call'}-S{number:07d}",
        "description": "one step of a pipeline",
        "inputs": [{"url": "s3://lab/genome.fa", "path": "/data/genome.fa", "type": "FILE"}],
        "outputs": [{"url": f"s3://lab/out/{number}", "path": "/data/out.bam", "type": "FILE"}],
        "resources": {"cpu_cores": 2, "ram_gb": 4.0},
        "executors": [{"image": "biocontainers/bwa:0.7.18", "command": ["bwa", "mem", "/data/genome.fa"]}],
        "tags": tags,
    }


def is_hot(number: int, total: int) -> bool:
    """Whether the task is one of the 900, which lie evenly among all."""
    hot = min(HOT_TASKS, total)
    return number * hot // total != (number + 1) * hot // total


def _id(created_at: datetime, number: int) -> str:
    """A UUIDv7 of that time; what is random in others is the number, so that ids are known beforehand."""
    time_ms = int(created_at.timestamp() * 1000)
    scattered = number * 0x9E3779B97F4A7C15 % 2**62
    digits = f"{time_ms:012x}7{number % 4096:03x}{0x8000000000000000 | scattered:016x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _log(created_at: datetime, state: State) -> dict[str, Any]:
    times = {
        "start_time": (created_at + timedelta(seconds=1)).isoformat(),
        "end_time": (created_at + timedelta(seconds=3)).isoformat(),
    }
    executor = {**times, "exit_code": 0 if state is State.COMPLETE else 1}
    outputs = [{"url": "s3://lab/out", "path": "/data/out.bam", "size_bytes": 12345}]
    return {**times, "logs": [executor], "outputs": outputs, "metadata": {"destination": "local"}}
