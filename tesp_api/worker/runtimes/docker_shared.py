"""How Docker mounts what lies in shared folders: by no path on which anybody could put a link.

Its binds are paths that the container's own process looks up, where the worker's descriptors are refused. So

- a *directory* is a volume, which the daemon mounts, and that can be led through the worker's descriptors;
- ... where it sees none of them, a `Witness` says what it has mounted;
- a *file*, which no volume can be, is linked into the job's directory: another name of the very same file;
- ... where that cannot be, and the daemon can, it mounts the file out of such a volume, following no link.
"""

from __future__ import annotations

import contextlib
import os
import re
from types import MappingProxyType
from typing import Mapping, Sequence

from .. import ownership
from ..errors import SystemFailure
from ..mounts import Bind
from ..process import run_command
from .base import Run, as_csv, mount_option
from .docker_engine import OF_WORKERS, Engine
from .shared import Mounting, close_all, open_unmoved

PARTS_SINCE = 1, 45
"""The API that has `volume-subpath`."""
RELABELS = "This Docker (SELinux) would give new labels to all files in a volume"


class DockerShared:
    """What a worker's containers have of shared folders; `scratch` is in the job's directory."""

    def __init__(self, program: str, scratch: str, engine: Engine) -> None:
        self._program = program
        self._job = os.path.dirname(scratch)
        self._engine = engine
        self._undo: dict[str, list[list[str]]] = {}
        self._folders: dict[str, list[int]] = {}
        self._knows_parts: bool | None = None
        self._no_directories: str | None = None

    def why_not_mounted(self, bind: Bind, trial: Run) -> str | None:
        """As `Runtime.why_not_mounted`: tries to link a file, and to have the first directory witnessed."""
        if not bind.is_file:
            if self._no_directories is None:
                self._no_directories = self._try_directory(bind, trial)
            return self._no_directories or None
        place = os.path.join(self._job, "linked")
        opened = open_unmoved([bind])
        try:
            link(opened[bind.target], place)
            os.unlink(place)
        except OSError as error:
            if self._mounts_parts():
                return None
            why = f"This Docker mounts single files by paths, and no link to it can be made: {error.strerror}"
            return f"{why}. A Docker of API 1.45 would do"
        finally:
            close_all(opened.values())
        return None

    def _try_directory(self, bind: Bind, trial: Run) -> str:
        if self._relabels():
            return RELABELS
        if not self._engine.is_beside_us():
            opened = open_unmoved([bind])
            try:
                self.mount(trial._replace(binds=(bind,)), opened)
            except SystemFailure as error:
                return str(error)
            finally:
                close_all(opened.values())
                self.unmount(trial)
        return ""

    def _relabels(self) -> bool:
        is_without = self._engine.is_beside_us() and not os.path.isdir("/sys/fs/selinux")
        return not is_without and "name=selinux" in ownership.security_options(self._program)

    def _mounts_parts(self) -> bool:
        """Whether a volume's files can be mounted one by one, which is so from Docker 26 on."""
        if self._knows_parts is None:
            code, text = run_command([self._program, "version", "--format", "{{.Client.APIVersion}}"])
            found = re.search(r"^(\d+)\.(\d+)\Z", text, re.MULTILINE)  # warnings may come first
            is_new = code == 0 and found is not None and (int(found[1]), int(found[2])) >= PARTS_SINCE
            self._knows_parts = is_new and self._engine.is_beside_us() and not self._relabels()
        return self._knows_parts

    def mount(self, run: Run, opened: Mapping[str, int]) -> Mounting:
        """Prepare it. Raises: SystemFailure, once all is undone."""
        self._undo[run.name] = []
        try:
            options = self._prepare(run, opened, self._undo[run.name])
        except BaseException:
            self.unmount(run)
            raise
        return Mounting(options=options, on_death=self._undo[run.name])

    def _prepare(self, run: Run, opened: Mapping[str, int], undo: list[list[str]]) -> dict[str, str]:
        shared = [bind for bind in run.binds if bind.target in opened]
        directories = [bind for bind in shared if not bind.is_file]
        options = self._link([bind for bind in shared if bind.is_file], run, opened, undo)
        if directories and not self._engine.is_beside_us():
            from .docker_witness import Witness  # few daemons need one

            witness = Witness(self._program, run, directories)
            undo += witness.undo
            return {**options, **witness.testify(opened, lambda pid: run.guard(undo, pid))}
        return {
            **options,
            **{bind.target: descriptor_option(bind, opened[bind.target]) for bind in directories},
        }

    def unmount(self, run: Run) -> None:
        """Undo what `mount` did, once the container is gone."""
        close_all(self._folders.pop(run.name, ()))
        for command in self._undo.pop(run.name, ()):
            run_command(command)

    def leftovers(self) -> list[tuple[str, str]]:
        """Volumes with names, as `Runtime.leftovers`."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            found = self._engine.get(f"/volumes?{OF_WORKERS}")["Volumes"] or ()
            return [(f"volume {item['Name']}", item["Labels"]["tesp.worker"]) for item in found]
        argv = [self._program, "volume", "ls", "--filter=label=tesp.worker"]
        code, text = run_command([*argv, '--format=volume {{.Name}}\t{{.Label "tesp.worker"}}'])
        rows = [line.split("\t") for line in text.splitlines()] if code == 0 else []
        return [(row[0], row[1]) for row in rows if len(row) == 2]

    def _link(
        self, files: Sequence[Bind], run: Run, opened: Mapping[str, int], undo: list[list[str]]
    ) -> dict[str, str]:
        """Outside of the task's own tree, whose files change their owner and mode at its end."""
        options = {}
        folder = os.path.join(self._job, f"{run.name}.links")
        if files:
            undo.append(["rm", "-rf", "--", folder])
            os.mkdir(folder, 0o700)
        for number, bind in enumerate(files):
            place = os.path.join(folder, str(number))
            try:
                link(opened[bind.target], place)
                options[bind.target] = mount_option(bind._replace(source=place))
            except OSError as error:
                if not self._mounts_parts():
                    raise SystemFailure(f"Cannot mount {bind.target} by a link: {error.strerror}") from error
                volume = f"{run.name}-file-{number}"
                undo.append([self._program, "volume", "rm", "--force", volume])
                folders = open_unmoved([bind._replace(source=os.path.dirname(bind.source))])
                self._folders.setdefault(run.name, []).extend(folders.values())
                options[bind.target] = part_option(bind, folders[bind.target], volume, run)
        return options


def link(descriptor: int, place: str) -> None:
    """Give the file that is open another name. Raises: OSError."""
    folder = os.open(os.path.dirname(place), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # without a descriptor of the folder, Python would link the link below /proc itself
        os.link(f"/proc/self/fd/{descriptor}", os.path.basename(place), dst_dir_fd=folder)
    finally:
        os.close(folder)


def descriptor_option(bind: Bind, descriptor: int) -> str:
    """A directory that is open in this process, as a volume without a name, which goes with the container."""
    device = f"/proc/{os.getpid()}/fd/{descriptor}"
    return volume_option(
        bind, device, "" if bind.writable else ",ro"
    )  # without a name, it cannot be `readonly`


def part_option(bind: Bind, folder: int, volume: str, run: Run) -> str:
    """A file in a directory that is open in this process: the daemon follows no link to it."""
    option = volume_option(bind, f"/proc/{os.getpid()}/fd/{folder}", name=volume, labels=run.labels)
    more = [f"volume-subpath={os.path.basename(bind.source)}", *([] if bind.writable else ["readonly"])]
    return f"{option},{as_csv(bind, more)}"


def volume_option(
    bind: Bind, device: str, more: str = "", name: str = "", labels: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A volume that is `device` with all that is mounted in it; the host's own mounts outlive it."""
    fields = [
        "type=volume",
        *([f"source={name}"] if name else []),
        f"target={bind.target}",
        "volume-nocopy=true",
    ]
    fields += [f"volume-label={key}={value}" for key, value in labels.items()]
    fields += ["volume-driver=local", "volume-opt=type=none", f"volume-opt=device={device}"]
    return as_csv(bind, [*fields, f"volume-opt=o=rbind,rprivate{more}"])
