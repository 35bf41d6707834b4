"""The watchdog: a detached process that cleans up after a worker that was killed.

It waits for the end of a pipe whose write end only the worker holds, so it costs nothing and
notices every kind of death at once. Each line in the pipe replaces what there is to do then.
Everything it needs is imported before the fork: the archive may be gone when it acts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import Any, NoReturn

from . import ownership
from .job import write_all
from .process import pid_started, run_despite_daemon
from .removal import remove_for_certain

FAREWELL: dict[str, Any] = {"farewell": True}
AGAIN_AFTER_S = 1.0


class Watchdog:
    """The worker's end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def guard(self, commands: list[list[str]], pid: int | None, docker: str | None) -> None:
        """On the worker's death: run these commands, and kill the process group `pid`.

        `docker` is the program that helps to take over files of root, if it takes that.
        """
        started = pid_started(pid) if pid else None
        self._tell({"commands": commands, "pid": pid, "pid_started": started, "docker": docker})

    def dismiss(self) -> None:
        """Let it go without doing anything."""
        self._tell(FAREWELL)
        os.close(self._descriptor)

    def _tell(self, duty: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            write_all(self._descriptor, json.dumps(duty).encode() + b"\n")


def start_watchdog(task: str) -> Watchdog:
    """Fork it; `task` is the tree that it removes. Call this before any thread is started."""
    reading, writing = os.pipe()  # neither end is inherited by programs that are started later
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _detach(reading)
                _watch(task)
        finally:
            os._exit(0)
    os.close(reading)
    os.waitpid(child, 0)
    return Watchdog(writing)


def _detach(reading: int) -> None:
    """Keep the pipe as descriptor 3 and nothing else: Pulsar waits for the ends of its own pipes."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if reading != 3:
        os.dup2(reading, 3)
    os.closerange(4, 4096)


def _watch(task: str) -> NoReturn:
    told = b"".join(iter(lambda: os.read(3, 65536), b""))
    duties = [json.loads(line) for line in told.splitlines() if line.endswith(b"}")]
    duty = duties[-1] if duties else {}
    if duty != FAREWELL:
        _end_container(duty)
        time.sleep(AGAIN_AFTER_S)  # a container that was just being made may appear only now
        _end_container(duty)
        _remove_files(task, duty)
    os._exit(0)


def _end_container(duty: dict[str, Any]) -> None:
    pid = duty.get("pid")
    if pid and duty["pid_started"] is not None and pid_started(pid) == duty["pid_started"]:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    for command in duty.get("commands", ()):
        run_despite_daemon(command)


def _remove_files(task: str, duty: dict[str, Any]) -> None:
    try:
        if duty.get("docker"):
            ownership.reclaim_by_docker(duty["docker"], task)
        remove_for_certain(task)
    except Exception:
        os._exit(1)  # nobody is left to tell
