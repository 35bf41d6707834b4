"""Podman: docker's command line without a daemon."""

from __future__ import annotations

import json
import os
from typing import Sequence

from .. import ownership
from ..cancellation import Cancellation
from ..errors import SystemFailure
from ..mounts import Bind, is_below, is_system
from ..process import run_command
from . import podman_hook
from .base import Launch, Outcome, Run, find_program, mount_option, version_of, write_private
from .docker import Docker
from .shared import Mounting, identity, python_program

INIT_PLACES = ("/usr/libexec/podman", "/usr/local/libexec/podman", "/usr/lib/podman", "/usr/bin")
HOOKS_OF_ROOT = ("/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d")


class Podman(Docker):
    """Containers by podman, as root or rootless."""

    def __init__(self, extra: Sequence[str], scratch: str) -> None:
        self._program = find_program("podman")
        self._extra = tuple(extra)
        self._scratch = scratch
        self.reclaiming_program = None
        self._held = {}
        self._begun = {}
        self.description = f"podman {version_of(self._program)}"

    def launch(self, run: Run) -> Launch:
        """Rootless, the watchdog also takes over the files of the container's other users."""
        launch = super().launch(run)
        at = launch.argv.index("--log-driver=none")
        launch.argv[at:at] = workdir_options(run)
        if os.geteuid() != 0:
            launch.on_death.append(self._take_over(self._scratch))
        return launch

    def why_not_mounted(self, bind: Bind, trial: Run) -> str | None:
        """There is no such thing."""
        return None

    def _mount_shared(self, run: Run, opened: dict[str, int]) -> Mounting:
        """Podman is told paths, and a hook sees what they led to."""
        if not opened:
            return Mounting()
        folder = os.path.dirname(self._seen(run))
        os.mkdir(folder)
        write_hook(folder, opened, self._seen(run))
        others = HOOKS_OF_ROOT if os.geteuid() == 0 else ()
        folders = [*filter(os.path.isdir, others), folder]
        return Mounting(before=[f"--hooks-dir={path}" for path in folders])

    def _unmount_shared(self, run: Run) -> None:
        """Nothing of it is left once the container is gone."""

    def _seen(self, run: Run) -> str:
        return os.path.join(self._scratch, f"{run.name}.hooks", "seen")

    def outcome(self, run: Run, returncode: int, stderr_tail: bytes) -> Outcome:
        """Raises: SystemFailure also where the hook has not seen all that is shared as it should be."""
        if self._held.get(run.name) and not is_filled(self._seen(run)):
            said = stderr_tail.decode("utf-8", "replace").strip()[-1000:]
            raise SystemFailure(f"{self.description} did not mount what lies in shared folders: {said}")
        return super().outcome(run, returncode, stderr_tail)

    def _is_removed(self, name: str) -> bool:
        return False

    def _remove_command(self, name: str) -> list[str]:
        """Without `--time=0` podman would wait ten seconds for the program to end by itself."""
        return [self._program, "rm", "--force", "--time=0", "--volumes", name]

    def _take_over(self, tree: str) -> list[str]:
        return [self._program, "unshare", "chown", "-R", "-h", "0:0", "--", tree]

    def _finds_init(self) -> bool:
        return any(os.path.exists(f"{place}/catatonit") for place in INIT_PLACES)

    def _is_root_ours(self) -> bool:
        return os.geteuid() != 0

    def _has_image(self, image: str, cancellation: Cancellation) -> bool:
        return run_command([self._program, "image", "exists", image], cancellation)[0] == 0

    def capture(self, run: Run, path: str, destination: str) -> bool:
        """Podman's `cp` follows links by itself and has no option for it."""
        return self._copy_out(run, path, destination, [])

    def reclaim(self, tree: str) -> None:
        if os.geteuid() != 0 and ownership.is_needed(tree):
            ownership.reclaim_by_command(self._take_over(tree))
            ownership.make_readable(tree)

    def leftovers(self) -> list[tuple[str, str]]:
        return self._leftovers_by_program()


def workdir_options(run: Run) -> list[str]:
    """Podman refuses a workdir that is not in the image, where docker makes one.

    An anonymous volume is the way to make it: it starts with what the image has there.
    """
    workdir = run.workdir
    if not workdir or is_system(workdir) or any(is_below(workdir, bind.target) for bind in run.binds):
        return []
    return [f"--mount={mount_option(Bind(workdir, ''))}".replace("type=bind,source=,", "type=volume,")]


def write_hook(folder: str, opened: dict[str, int], seen: str) -> None:
    """Have `podman_hook` run for what is made with this folder as one of hooks."""
    expected = {target: identity(descriptor) for target, descriptor in opened.items()}
    argv = python_program(podman_hook, json.dumps(expected), seen)
    hook = {
        "version": "1.0.0",
        "hook": {"path": argv[0], "args": argv},
        "when": {"always": True},
        "stages": ["createRuntime"],
    }
    write_private(os.path.join(folder, "shared.json"), json.dumps(hook).encode())


def is_filled(path: str) -> bool:
    """Whether there is a file with something in it."""
    return os.path.exists(path) and os.path.getsize(path) > 0
