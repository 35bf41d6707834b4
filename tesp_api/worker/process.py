"""Processes: who this worker is, and whether another one is dead for certain."""

from __future__ import annotations

import os
import re
import subprocess
import time

from .cancellation import Cancellation

DAEMON_AWAY = re.compile("cannot connect to the docker daemon|error during connect|unexpected EOF", re.I)
PATIENCE_S = 600.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 5.0


def pid_started(pid: int | str = "self") -> int | None:
    """Clock ticks from boot to start (field 22 of /proc/PID/stat); None where there is no such file."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name in field 2 may hold blanks and parentheses, so count from behind its last one.
    return int(text.rpartition(b")")[2].split()[19])


def kernel_identity() -> str:
    """This boot and this PID namespace; empty where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return boot + "/" + os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def worker_label() -> str:
    """The value of the label `tesp.worker` on each container of this worker."""
    return f"{os.getpid()}:{pid_started() or 0}:{kernel_identity()}"


def worker_is_dead(label: str) -> bool:
    """Whether the worker that wrote this label is gone for certain; False whenever that cannot be known."""
    pid, _, rest = label.partition(":")
    started, _, kernel = rest.partition(":")
    if not (pid.isdigit() and started.isdigit() and kernel) or kernel != kernel_identity() or started == "0":
        return False
    return pid_started(pid) != int(started)


def run_despite_daemon(argv: list[str]) -> tuple[int, str]:
    """Like `run_command`, but again and again while Docker's daemon is away: it may be restarted just now."""
    end, pause_s = time.monotonic() + PATIENCE_S, PAUSE_MIN_S
    while True:
        code, text = run_command(argv)
        if code == 0 or not DAEMON_AWAY.search(text) or time.monotonic() > end:
            return code, text
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


def run_command(
    argv: list[str], cancellation: Cancellation | None = None, given: bytes = b""
) -> tuple[int, str]:
    """Run a short program; returns its exit code and its stdout and stderr as one text.

    A cancel kills it. A program that is not there has exit code 127.

    Raises: Canceled.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return 127, str(error)
    output = b""
    try:
        while True:
            try:
                output, _ = process.communicate(given or None, timeout=0.1 if cancellation else None)
                return process.returncode, output.decode("utf-8", "replace").strip()
            except subprocess.TimeoutExpired:
                given = b""  # communicate() remembers what it was given
                if cancellation:
                    cancellation.check()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
