"""Following tasks on a server: their states until they end, their logs as they grow."""

import time
from collections.abc import Callable, Sequence

from tesp_api.cli.client import TespClient
from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.output import print_state_change
from tesp_api.tes.states import FINAL

_POLL_MIN_S = 0.1
_POLL_MAX_S = 2.0

LogSink = Callable[[int, str, bytes], None]


def wait_for(client: TespClient, task_ids: Sequence[str], *, timeout_s: float | None) -> None:
    """Return when all the tasks have ended; print each change of a state on stderr.

    Raises:
        CommandFailed: TIMED_OUT, naming those that have not ended.
    """
    deadline = time.monotonic() + timeout_s if timeout_s is not None else None
    seen: dict[str, str] = {}
    pause_s = _POLL_MIN_S
    waiting = list(dict.fromkeys(task_ids))
    while True:
        for task_id in waiting:
            state = client.get(task_id)["state"]
            if seen.get(task_id) != state:
                print_state_change(task_id, state)
                pause_s = _POLL_MIN_S
            seen[task_id] = state
        waiting = [task_id for task_id in waiting if seen[task_id] not in FINAL]
        if not waiting:
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise CommandFailed(
                f"not ended after {timeout_s:g} s: " + ", ".join(f"{one} ({seen[one]})" for one in waiting),
                Exit.TIMED_OUT,
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _POLL_MAX_S)


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
        raise CommandFailed(f"task {task_id} has {count} executors, counted from 0: there is no {executor}")
    for number in range(count) if executor is None else [executor]:
        _copy_executor(client, task_id, number, streams, sink, follow=follow)


def _copy_executor(
    client: TespClient, task_id: str, number: int, streams: Sequence[str], sink: LogSink, *, follow: bool
) -> None:
    offsets = dict.fromkeys(streams, 0)
    pause_s = _POLL_MIN_S
    while True:
        news = False
        live = False
        for stream in streams:
            part = client.read_log(task_id, number, stream, offsets[stream])
            if part.data:
                sink(number, stream, part.data)
                news = True
            offsets[stream] = max(offsets[stream], part.next_offset)
            live = live or part.live
        # A stream that was read before the other said "live no more" may have grown in between: only a
        # round without news, in which nothing is live, is the last one.
        if not news and not (live and follow):
            return
        if not news:
            time.sleep(pause_s)
        pause_s = _POLL_MIN_S if news else min(pause_s * 1.2, _POLL_MAX_S)
