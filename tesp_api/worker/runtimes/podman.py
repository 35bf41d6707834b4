"""Podman: docker's command line without a daemon."""

from __future__ import annotations

import os
from typing import Sequence

from .. import ownership
from ..cancellation import Cancellation
from ..process import run_command
from .base import Launch, Run, find_program, version_of
from .docker import Docker


class Podman(Docker):
    """Containers by podman, as root or rootless."""

    def __init__(self, extra: Sequence[str], scratch: str) -> None:
        self._program = find_program("podman")
        self._extra = tuple(extra)
        self._scratch = scratch
        self.reclaiming_program = None
        self.description = f"podman {version_of(self._program)}"

    def launch(self, run: Run) -> Launch:
        """Rootless, the watchdog also takes over the files of the container's other users."""
        launch = super().launch(run)
        if os.geteuid() != 0:
            launch.on_death.append(self._take_over(self._scratch))
        return launch

    def _take_over(self, tree: str) -> list[str]:
        return [self._program, "unshare", "chown", "-R", "-h", "0:0", "--", tree]

    def _has_image(self, image: str, cancellation: Cancellation) -> bool:
        return run_command([self._program, "image", "exists", image], cancellation)[0] == 0

    def capture(self, run: Run, path: str, destination: str) -> bool:
        """Podman's `cp` follows links by itself and has no option for it."""
        return run_command([self._program, "cp", f"{run.name}:{path}", destination])[0] == 0

    def reclaim(self, tree: str) -> None:
        if os.geteuid() != 0 and ownership.is_needed(tree):
            ownership.reclaim_by_command(self._take_over(tree))
            ownership.make_readable(tree)

    def leftovers(self) -> list[tuple[str, str]]:
        return self._leftovers_by_program()
