"""Limits for the runtimes that leave them to control groups."""

from __future__ import annotations

from ..cgroups import ControlGroup, create_group
from .base import Run

NOT_ENFORCED = "cpu_cores and ram_gb are not enforced: this user may make no control groups on this machine"


class Limits:
    """The control group of one container, if it asked for limits and this site lets us set them."""

    def __init__(self, run: Run) -> None:
        self._name = run.name
        wanted = bool(run.cpus or run.memory_bytes)
        pids_max = run.confinement.pids_max
        self._group: ControlGroup | None = None
        if pids_max is not None:
            self._group = create_group(run.name, run.cpus, run.memory_bytes, pids_max)
        if wanted and self._group is None:  # a kernel may have no controller for the number of processes
            self._group = create_group(run.name, run.cpus, run.memory_bytes)
        self.launch_notes: tuple[str, ...] = (NOT_ENFORCED,) if wanted and self._group is None else ()

    @property
    def groups(self) -> list[str]:
        """The directories of the group, if there is one."""
        return self._group.directories if self._group else []

    def on_death(self) -> list[list[str]]:
        return [["rmdir", directory] for directory in self.groups]

    def end(self) -> tuple[str, ...]:
        """Remove the group; tells for `system_logs` whether the memory limit was reached."""
        if self._group is None:
            return ()
        killed = self._group.ran_out_of_memory()
        self._group.remove()
        return (f"A process of {self._name} was killed: it reached the memory limit",) if killed else ()
