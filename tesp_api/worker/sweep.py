"""The sweep: containers whose worker and watchdog were both killed (a cgroup kill takes both)."""

from __future__ import annotations

from .parallel import Background
from .process import worker_is_dead
from .runtimes.base import Runtime


def sweep_in_background(runtime: Runtime) -> None:
    """Remove what dead workers left, in a thread that nobody waits for.

    Only a container whose label names a process of this very kernel and PID namespace, and whose
    process is gone or is another one by now, is touched. A failure is left to the next sweep.
    """
    Background(lambda: _sweep(runtime))


def _sweep(runtime: Runtime) -> None:
    for container, label in runtime.leftovers():
        if worker_is_dead(label):
            runtime.remove_leftover(container)
