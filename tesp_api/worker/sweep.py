"""The sweep: containers whose worker and watchdog were both killed (a cgroup kill takes both)."""

from __future__ import annotations

from .process import worker_is_dead
from .runtimes.base import Runtime


def sweep(runtime: Runtime) -> None:
    """Remove what dead workers left; to be called in a thread that nobody waits for.

    Only a container whose label names a process of this very kernel and PID namespace, and whose
    process is gone or is another one by now, is touched. A failure is left to the next sweep.
    """
    for container, label in runtime.leftovers():
        if worker_is_dead(label):
            runtime.remove_leftover(container)
