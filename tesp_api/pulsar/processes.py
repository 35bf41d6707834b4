"""Processes of this machine, told apart by pid *and* start time: a pid alone is used again.

Linux only: /proc and pidfds.
"""

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
DEAD_STATES = frozenset("ZXx")  # a zombie has ended, its parent has only not looked yet
# gone between two looks, or hidden from us: then it is not ours
NOT_SEEN = (FileNotFoundError, ProcessLookupError, NotADirectoryError, PermissionError)


@dataclass(frozen=True, slots=True)
class Process:
    """`started` is field 22 of /proc/PID/stat: clock ticks since the machine's boot."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What we need of /proc/PID/stat."""

    process: Process
    parent: int
    alive: bool


def read_stat(pid: int) -> ProcessStat | None:
    """The process that has this pid now, None if there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except NOT_SEEN:
        return None
    # the name, field 2, is in parentheses and may hold spaces and parentheses itself
    fields = text.rpartition(")")[2].split()
    return ProcessStat(
        process=Process(pid, int(fields[19])),
        parent=int(fields[1]),
        alive=fields[0] not in DEAD_STATES,
    )


def is_alive(process: Process) -> bool:
    """Whether this very process still runs; a zombie does not."""
    stat = read_stat(process.pid)
    return stat is not None and stat.process == process and stat.alive


def process_in(folder: Path, pid: int) -> Process | None:
    """The live process with this pid if its working directory is below the folder."""
    stat = read_stat(pid)
    if stat is None or not stat.alive:
        return None
    try:
        cwd = (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None
    return stat.process if cwd.is_relative_to(folder) else None


def processes_in(folder: Path) -> list[Process]:
    """Every live process whose working directory is below the folder; reads all of /proc."""
    found = (process_in(folder, pid) for pid in all_pids())
    return [process for process in found if process is not None]


def all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def open_pidfd(process: Process) -> int | None:
    """A descriptor that becomes readable when the process ends; None if it has ended already.

    Raises:
        OSError: this process has too many files open, or the kernel is older than 5.3.
    """
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # checked after opening: from here on the descriptor cannot come to mean another process
    if is_alive(process):
        return pidfd
    os.close(pidfd)
    return None


def wait_for_end(process: Process, timeout_s: float) -> None:
    """Return when the process has ended, at the latest after the time."""
    pidfd = open_pidfd(process)
    if pidfd is not None:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(timeout_s * 1000)
        os.close(pidfd)


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Signal this very process, never a later one with its pid; returns whether it was there."""
    pidfd = open_pidfd(process)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def descendants(root: Process) -> list[Process]:
    """Children, their children and so on; a process that detached itself (init's now) is not one."""
    children: dict[int, list[Process]] = {}
    for pid in all_pids():
        if (stat := read_stat(pid)) is not None:
            children.setdefault(stat.parent, []).append(stat.process)
    found: list[Process] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop().pid, [])
        found += below
        waiting += below
    return found


def kill_tree(root: Process) -> None:
    """SIGKILL the process and its descendants. Does nothing if it is not there.

    All are stopped first, until no new one appears, so that none forks past the kill.

    Raises:
        PermissionError: the process belongs to somebody else.
    """
    if not send_signal(root, signal.SIGSTOP):
        return
    stopped: set[Process] = set()
    while new := set(descendants(root)) - stopped:
        for process in new:
            with contextlib.suppress(PermissionError):  # a container's, run as another user
                send_signal(process, signal.SIGSTOP)
        stopped |= new
    for process in (root, *stopped):
        with contextlib.suppress(PermissionError):
            send_signal(process, signal.SIGKILL)
