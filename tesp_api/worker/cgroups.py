"""Control groups: limits of CPU, memory and processes for runtimes that set none themselves (v1 and v2)."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, Sequence

CPU_PERIOD_US = 100_000
MOUNT = "/sys/fs/cgroup"
BEGIN_INSIDE = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'


class ControlGroup:
    """A group for one container, as one directory (v2) or one for each controller (v1)."""

    def __init__(self, directories: list[str]) -> None:
        self.directories = directories

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed a process of the group for want of memory."""
        for directory in self.directories:
            for name in ("memory.oom_control", "memory.events"):
                with contextlib.suppress(OSError), open(os.path.join(directory, name)) as file:
                    counts = dict(line.split() for line in file if " " in line)
                    if int(counts.get("oom_kill", "0")):
                        return True
        return False

    def remove(self) -> None:
        """Remove the group once its last process is gone; gives up after half a second."""
        for directory in self.directories:
            for _ in range(50):
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)


def create_group(
    name: str, cpus: float | None, memory_bytes: int | None, pids_max: int | None = None
) -> ControlGroup | None:
    """Make a group with these limits; None where this user may not, or the kernel has no such controller."""
    own = own_groups()
    try:
        if "memory" in own and "cpu" in own:
            return _create_v1(own, name, cpus, memory_bytes, pids_max)
        if "" in own and os.path.exists(f"{MOUNT}/cgroup.controllers"):
            return _create_v2(MOUNT + own[""], name, cpus, memory_bytes, pids_max)
    except (OSError, KeyError):
        return None
    return None


def begun_inside(directories: Sequence[str], argv: Sequence[str]) -> list[str]:
    """The command that moves itself into the group of these directories and becomes `argv`, or fails.

    A function that `Popen` calls in its child could wait for ever for a thread that is not there. The shell
    may lose variables whose names are none for it.
    """
    return ["/bin/sh", "-c", BEGIN_INSIDE, "sh", *directories, "--", *argv] if directories else [*argv]


def own_groups() -> dict[str, str]:
    """The group of this process for each controller; "" is the unified hierarchy."""
    groups = {}
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _create_v1(
    own: dict[str, str], name: str, cpus: float | None, memory_bytes: int | None, pids_max: int | None
) -> ControlGroup | None:
    limits: list[tuple[str, Callable[[str], None]]] = []
    if memory_bytes:
        limits.append(("memory", lambda directory: _limit_memory_v1(directory, memory_bytes)))
    if cpus:
        quota = str(int(cpus * CPU_PERIOD_US))
        limits.append(("cpu", lambda directory: _write(f"{directory}/cpu.cfs_quota_us", quota)))
    if pids_max is not None:
        limits.append(("pids", lambda directory: _write(f"{directory}/pids.max", str(pids_max))))
    group = ControlGroup([])
    try:
        for controller, limit in limits:
            base = f"{MOUNT}/{controller}{own[controller]}"
            base = base if os.path.isdir(base) else f"{MOUNT}/{controller}"
            directory = os.path.join(base, name)
            os.mkdir(directory)
            group.directories.append(directory)
            limit(directory)
    except OSError:
        group.remove()
        raise
    return group


def _limit_memory_v1(directory: str, memory_bytes: int) -> None:
    _write(f"{directory}/memory.limit_in_bytes", str(memory_bytes))
    with contextlib.suppress(OSError):  # kernels without swap accounting have no such file
        _write(f"{directory}/memory.memsw.limit_in_bytes", str(memory_bytes))


def _create_v2(
    base: str, name: str, cpus: float | None, memory_bytes: int | None, pids_max: int | None
) -> ControlGroup | None:
    with contextlib.suppress(OSError):  # already on, or refused; the limits below tell
        _write(f"{base}/cgroup.subtree_control", "+memory +cpu" + (" +pids" if pids_max else ""))
    directory = os.path.join(base, name)
    os.mkdir(directory)
    group = ControlGroup([directory])
    try:
        if memory_bytes:
            _write(f"{directory}/memory.max", str(memory_bytes))
            with contextlib.suppress(OSError):
                _write(f"{directory}/memory.swap.max", "0")
        if cpus:
            _write(f"{directory}/cpu.max", f"{int(cpus * CPU_PERIOD_US)} {CPU_PERIOD_US}")
        if pids_max is not None:
            _write(f"{directory}/pids.max", str(pids_max))
    except OSError:
        group.remove()
        raise
    return group


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
