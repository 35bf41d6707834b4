"""Apptainer and its older namesake Singularity: images as files, containers as the user's own processes."""

from __future__ import annotations

import os
from typing import Sequence

from ..cancellation import Cancellation
from ..errors import SystemFailure
from ..mounts import Bind
from ..process import run_command
from .base import Launch, Outcome, Run, find_program, kill_group, mount_option, require_image_name, version_of
from .limits import Limits
from .shared import by_private_places, open_shared, why_no_private_places

OWN_FAILURE = 255
FATAL = b"FATAL:"


class Apptainer:
    """Containers by `apptainer`."""

    reclaiming_program: str | None = None
    notes: tuple[str, ...] = ()
    _name = "apptainer"
    _variable_prefix = "APPTAINERENV_"

    def __init__(self, extra: Sequence[str], scratch: str) -> None:
        self._program = find_program(self._name)
        self._extra = tuple(extra)
        self._scratch = scratch
        self.description = f"{self._name} {version_of(self._program)}"
        self._limits: dict[str, Limits] = {}
        self._images: dict[str, str] = {}

    def check_image(self, image: str, cancellation: Cancellation) -> None:
        """A remote image becomes a file beside the task's, out of the user's cache where that has it."""
        require_image_name(image)
        if image in self._images:
            return
        source = image_source(image)
        if "://" not in source:
            if not os.path.exists(source):
                raise SystemFailure(f"There is no image {source} on this machine")
            self._images[image] = source
            return
        file = os.path.join(self._scratch, f"image-{len(self._images)}.sif")
        code, text = run_command([self._program, "pull", "--force", file, source], cancellation)
        if code != 0:
            raise SystemFailure(f"Cannot pull the image {image}: {text[-1000:]}")
        self._images[image] = file

    def why_not_mounted(self, bind: Bind, trial: Run) -> str | None:
        return why_no_private_places()

    def check_captures(self, paths: Sequence[str]) -> None:
        if paths:
            raise SystemFailure(
                f"{self._name} cannot fetch {', '.join(paths)} from a container:"
                " write outputs below a directory that is not part of the system, such as /data"
            )

    def launch(self, run: Run) -> Launch:
        """What is shared is mounted at private places first. An ordinary user takes a user namespace for it.

        In one, no set-uid starter works: apptainer is told to do without.
        """
        limits = self._limits[run.name] = Limits(run)
        opened = open_shared(run)
        run, before = by_private_places(run, opened, self._scratch, OWN_FAILURE, limits.groups)
        extra = [*self._extra, *(["--userns"] if opened and os.geteuid() != 0 else [])]
        argv = [*before, self._program, *run_arguments(run, self._images[run.image], extra)]
        env = {**os.environ, **{self._variable_prefix + name: value for name, value in run.env.items()}}
        descriptors = tuple(opened.values())
        return Launch(argv, {"env": env}, limits.on_death(), descriptors, limits.launch_notes)

    def outcome(self, run: Run, returncode: int, stderr_tail: bytes) -> Outcome:
        notes = self._limits.pop(run.name).end()
        if returncode == OWN_FAILURE and FATAL in stderr_tail:
            said = stderr_tail[stderr_tail.rindex(FATAL) :].decode("utf-8", "replace").strip()
            if "no such file or directory" in said or "not found in $PATH" in said:
                return Outcome(127, notes)
            if "permission denied" in said:
                return Outcome(126, notes)
            raise SystemFailure(f"{self.description} could not run {run.image}: {said[-1000:]}")
        return Outcome(returncode if returncode >= 0 else 128 - returncode, notes)

    def kill(self, run: Run, pid: int | None) -> None:
        kill_group(pid)  # the processes inside die with the one that made their PID namespace

    def capture(self, run: Run, path: str, destination: str) -> bool:
        return False  # refused by check_captures

    def new_files(self, run: Run) -> list[str]:
        return []

    def remove(self, run: Run) -> None:
        """The container was a process, and its writable layer lay in memory."""
        if run.name in self._limits:  # it was killed, and has no outcome
            self._limits.pop(run.name).end()

    def reclaim(self, tree: str) -> None:
        """Does nothing: the container ran as this user."""

    def leftovers(self) -> list[tuple[str, str]]:
        return []

    def remove_leftover(self, container: str) -> None:
        """Does nothing: there are none."""


class Singularity(Apptainer):
    """Containers by `singularity`."""

    _name = "singularity"
    _variable_prefix = "SINGULARITYENV_"


def image_source(image: str) -> str:
    """What to pull or run for a TES image name: a path and a URI stay, a plain name is Docker's."""
    return image if "://" in image or image.startswith("/") else f"docker://{image}"


def run_arguments(run: Run, image: str, extra: Sequence[str]) -> list[str]:
    """The arguments of `apptainer run`, which keeps the image's entry point."""
    arguments = ["run", "--containall", "--cleanenv", "--writable-tmpfs", *confining_options(run)]
    if run.network in ("none", "bridge"):
        arguments += ["--net", "--network", run.network]
    for bind in run.binds:
        arguments += ["--mount", mount_option(bind, target_key="destination")]
    if run.workdir:
        arguments += ["--pwd", run.workdir]
    return [*arguments, *extra, image, *run.command]


def confining_options(run: Run) -> list[str]:
    """Only root has something to lose here: other users gain no privileges by any means."""
    rules = run.confinement
    if os.geteuid() != 0 or rules.capabilities is None:
        return []
    kept = ",".join(f"CAP_{name}" for name in rules.capabilities)
    return ["--no-privs", *(["--add-caps", kept] if kept else [])]
