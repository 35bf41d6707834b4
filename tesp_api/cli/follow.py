"""Following tasks on a server: their states until they end, their logs as they grow."""

import base64
import time
from collections.abc import Callable, Sequence

from tesp_api.cli.client import TespClient, segment
from tesp_api.cli.event_stream import events
from tesp_api.cli.exits import CommandFailed
from tesp_api.cli.transfer_bars import TransferBars
from tesp_api.tes.states import FINAL

_POLL_MIN_S = 0.1
_POLL_MAX_S = 2.0
_MOVING = {"QUEUED", "INITIALIZING", "RUNNING"}
"""The states in which a gateway or a worker is busy, so that there may be transfers."""

LogSink = Callable[[int, str, bytes], None]


def wait_for(
    client: TespClient, task_ids: Sequence[str], *, timeout_s: float | None, with_bars: bool
) -> None:
    """Return when all the tasks have ended or the time is over.

    Each change of a state is a line on stderr; on a terminal, transfers have bars below, unless that is
    not wanted.
    """
    with TransferBars(wanted=with_bars, several=len(set(task_ids)) > 1) as shown:
        _wait_for(client, task_ids, timeout_s, shown)


def _wait_for(
    client: TespClient, task_ids: Sequence[str], timeout_s: float | None, shown: TransferBars
) -> None:
    deadline = time.monotonic() + timeout_s if timeout_s is not None else None
    seen: dict[str, str] = {}
    heard: dict[str, tuple[int, int]] = {}
    pause_s = _POLL_MIN_S
    waiting = list(dict.fromkeys(task_ids))
    while True:
        for task_id in waiting:
            state = client.get(task_id)["state"]
            if seen.get(task_id) != state:
                shown.show_state(task_id, state)
                pause_s = _POLL_MIN_S
            seen[task_id] = state
            if shown.are_shown and state in _MOVING:
                _show_events(client, task_id, heard, shown)
        waiting = [task_id for task_id in waiting if seen[task_id] not in FINAL]
        if not waiting or (deadline is not None and time.monotonic() >= deadline):
            return
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _POLL_MAX_S)


def _show_events(
    client: TespClient, task_id: str, heard: dict[str, tuple[int, int]], shown: TransferBars
) -> None:
    """Show what is new; `heard` has the attempt of each task and the last event of it."""
    before, last_seq = heard.get(task_id, (0, -1))
    attempt, events = client.events(task_id, last_seq)
    if attempt != before:  # its events are counted anew
        shown.forget(task_id)
        attempt, events = client.events(task_id, -1)
    for event in events:
        shown.show_event(task_id, event)
    heard[task_id] = (attempt, events[-1]["seq"] if events else last_seq if attempt == before else -1)


def copy_logs(
    client: TespClient,
    task_id: str,
    executor: int | None,
    streams: Sequence[str],
    sink: LogSink,
    *,
    follow: bool,
) -> None:
    """Hand what the executors wrote to `sink`, executor by executor; with `follow`, until the task ends.

    Raises:
        CommandFailed: there is no such task or executor.
    """
    count = len(client.get(task_id, "BASIC")["executors"])
    if executor is not None and executor >= count:
        raise CommandFailed(f"task {task_id} has no executor {executor}: its last is executor {count - 1}")
    if follow:
        _follow_logs(client, task_id, executor, streams, sink)
        return
    for number in range(count) if executor is None else [executor]:
        for stream in streams:
            _copy_whole(client, task_id, number, stream, sink)


def _follow_logs(
    client: TespClient, task_id: str, executor: int | None, streams: Sequence[str], sink: LogSink
) -> None:
    path = f"/tesp/v1/tasks/{segment(task_id)}/events"
    for event in events(client, path, {"logs": "base64"}):
        told = event.data
        if event.name == "log" and told["stream"] in streams and executor in (None, told["executor"]):
            sink(told["executor"], told["stream"], base64.b64decode(told["base64"]))


def _copy_whole(client: TespClient, task_id: str, number: int, stream: str, sink: LogSink) -> None:
    """Hand all that there is of one log to `sink`."""
    offset = 0
    while True:
        part = client.read_log(task_id, number, stream, offset)
        offset = part.next_offset
        if part.data:
            sink(number, stream, part.data)
        if not part.data or offset >= part.total:
            return
