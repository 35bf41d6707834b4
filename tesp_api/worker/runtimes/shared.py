"""What lies in shared folders is opened before it is mounted: what is put in its place then comes too late.

A runtime either gets the descriptors, or is led through them, or what it mounted is compared with them.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from types import ModuleType
from typing import Iterable, NamedTuple, Sequence

from .. import beneath
from ..errors import SystemFailure
from ..mounts import Bind
from ..process import run_command
from .base import Run


class Mounting(NamedTuple):
    """What docker or podman is told of a run's shared folders.

    `before` goes before `run`, `options` are values of `--mount` by target, and `on_death` are commands for
    the watchdog, once the container is gone.
    """

    before: list[str] = []  # noqa: RUF012
    options: dict[str, str] = {}  # noqa: RUF012
    on_death: list[list[str]] = []  # noqa: RUF012


def open_shared(run: Run) -> dict[str, int]:
    """Descriptors of what a container gets of shared folders, by target; to be closed by the caller.

    Nobody can put anything in the place of `/`, so it needs none.

    Raises: SystemFailure if a link was put on the way to one of them since its path was resolved.
    """
    return open_unmoved(bind for bind in run.binds if bind.is_shared and bind.source != "/")


def open_unmoved(binds: Iterable[Bind]) -> dict[str, int]:
    """Descriptors by target, as `open_shared`."""
    opened: dict[str, int] = {}
    for bind in binds:
        try:
            opened[bind.target] = beneath.open_beneath("/", bind.source.strip("/"), os.O_PATH)
            if stat.S_ISLNK(os.fstat(opened[bind.target]).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        except OSError as error:
            close_all(opened.values())
            raise SystemFailure(f"What is mounted at {bind.target} was replaced: {error.strerror}") from None
    return opened


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def identity(descriptor: int) -> tuple[int, int]:
    """The device and the inode of what is open, which no other file has as long as it is."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def python_program(module: ModuleType, *arguments: str) -> list[str]:
    """The command that runs a module of the worker by itself, wherever the worker came from."""
    source = module.__loader__.get_source(module.__name__)  # type: ignore[union-attr]
    return [sys.executable or "python3", "-I", "-S", "-c", source, *arguments]


def why_no_private_places() -> str | None:
    """Why `by_private_places` cannot work here, if so."""
    code, text = run_command([*python_program(beneath, "[[], []]", "1"), "true"])
    return text[-300:] if code != 0 else None


def by_private_places(
    run: Run, opened: dict[str, int], scratch: str, exit_code: int, groups: Sequence[str] = ()
) -> tuple[Run, list[str]]:
    """For a runtime that takes paths: the run with private places as sources, and the begin of its command.

    That enters the control groups and mounts what is open at these places, in a mount namespace of its own.
    It exits with `exit_code` and a line that begins with FATAL if it may not, or something else lies there.
    """
    if not (opened or groups):
        return run, []
    folder = os.path.join(scratch, f"{run.name}.mounts")
    os.mkdir(folder)
    binds: list[Bind] = []
    mounts: list[tuple[str, str, int, int]] = []
    for bind in run.binds:
        if bind.target in opened:
            place = os.path.join(folder, str(len(mounts)))
            if bind.is_file:
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            else:
                os.mkdir(place)
            mounts.append((bind.source, place, *identity(opened[bind.target])))
            bind = bind._replace(source=place)
        binds.append(bind)
    given = json.dumps([groups, mounts if opened else None])
    return run._replace(binds=tuple(binds)), python_program(beneath, given, str(exit_code))
