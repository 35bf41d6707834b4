"""The mount plan: which of the task's paths are mounted into its containers, and how the others travel.

The task's files live in one tree on the host that mirrors the container's paths. The rules:

1. *Mount points* are the volumes, the DIRECTORY inputs and outputs, the parent of each FILE output
   and of each stdout/stderr file, the wildcard-free parent of each wildcard output, and `/tmp`.
   A mount point below another one is the same part of the tree, so only the outermost is mounted.
2. A FILE input below no mount point is mounted by itself, so that its neighbours in the image
   stay visible.
3. A *rooted* input (in a file root that the site mounts "ro" or "rw") is mounted from where it
   lies; nothing is copied, and no other input can be put into it.
4. *System directories* are never mounted over as the parent of something: that would hide the
   image's programs. An output there is *captured*: copied out of the stopped container into the
   tree after each executor, and a captured file is mounted by itself into the later ones. A
   stdout/stderr file there is written by the worker and mounted likewise.
5. A volume or DIRECTORY input may lie below a system directory, since the user named it, but may
   not be one.
6. The workdir is no mount point: it may exist in the image with content. A missing one is made.
7. Where inputs are read-only, each is mounted once more over itself, unless something is to be written there.
"""

from __future__ import annotations

import os
import posixpath
from typing import Iterable, Iterator, NamedTuple

from .errors import SystemFailure
from .order import Order, Output

TMP = "/tmp"  # noqa: S108 - of the container
KERNEL = ("/dev", "/proc", "/sys")
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/boot", *KERNEL)
# Images keep programs or settings in these, but their subdirectories are fair game.
OCCUPIED = ("/", "/home", "/opt", "/root", "/run", "/var", "/var/lib", "/var/run")
LOAD_BEARING = (
    "/",
    *SYSTEM,
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local",
    "/usr/local/bin",
)


class Bind(NamedTuple):
    """What the container sees at `target` is `source` on the host.

    Without `is_mounted` the worker alone knows it: a captured directory. `is_shared`: it is in a file root.
    """

    target: str
    source: str
    writable: bool = True
    is_file: bool = False
    is_mounted: bool = True
    is_shared: bool = False


class MountPlan(NamedTuple):
    directories: tuple[str, ...]
    """Every directory to make before the first executor, mount point or below one."""
    binds: tuple[Bind, ...]
    captures: tuple[str, ...]
    capture_patterns: tuple[str, ...]
    written_by_worker: tuple[str, ...]
    """stdout/stderr files in system directories (rule 4)."""


def is_below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def is_system(directory: str) -> bool:
    """Whether mounting over this directory would hide parts of the image (rule 4)."""
    return directory in OCCUPIED or any(is_below(directory, system) for system in SYSTEM)


def pattern_base(pattern: str) -> str:
    """The longest parent directory of a wildcard pattern without wildcards in it."""
    first = min(pattern.find(sign) for sign in "*?[" if sign in pattern)
    return posixpath.dirname(pattern[:first]) or "/"


def plan_mounts(order: Order, tree: str, rooted: Iterable[Bind]) -> MountPlan:
    """Apply the rules of this module to an order; `rooted` are the binds of rule 3.

    Raises: SystemFailure for a volume or DIRECTORY input that would hide the system (rule 5), and
    for a FILE input within a rooted one (rule 3).
    """
    rooted = tuple(rooted)
    rooted_paths = {bind.target for bind in rooted}
    named = {*order.volumes, *(item.path for item in order.inputs if item.type == "DIRECTORY")}
    for path in sorted(named):
        if path in LOAD_BEARING or any(is_below(path, kernel) for kernel in KERNEL):
            raise SystemFailure(f"Cannot mount a volume or directory over {path} in the container")
    streams = [path for item in order.executors for path in (item.stdout, item.stderr) if path]
    streams = [path for path in streams if not is_below(path, "/dev")]
    implied = {_output_directory(output) for output in order.outputs if not _is_captured(output)}
    implied |= {parent for parent in map(posixpath.dirname, streams) if not is_system(parent)}
    wanted = {TMP, *named, *(path for path in implied if not _in(path, rooted_paths))} - rooted_paths
    points = outermost(wanted)
    files = {item.path for item in order.inputs if item.type != "DIRECTORY"} - rooted_paths
    for path in sorted(files):
        if _in(path, rooted_paths):
            raise SystemFailure(
                f"The input {path} lies in a directory that is mounted from the site: give it another place"
            )
    binds = [Bind(point, mirrored(tree, point)) for point in points]
    covered = [*points, *(bind.target for bind in rooted)]
    binds += [
        Bind(path, mirrored(tree, path), is_file=True) for path in sorted(files) if not _in(path, covered)
    ]
    covered += [bind.target for bind in binds]
    if order.site.read_only_inputs:
        written = {*order.volumes, *streams, *(output.path_prefix or output.path for output in order.outputs)}
        fixed = [*_read_only_inputs(order, tree, written | implied, rooted_paths)]
        fixed_paths = {bind.target for bind in fixed}
        binds = [*(bind for bind in binds if bind.target not in fixed_paths), *fixed]
    captured = [item for item in order.outputs if _is_captured(item)]
    return MountPlan(
        directories=tuple(sorted(wanted)),
        binds=(*binds, *rooted),
        captures=tuple(
            item.path
            for item in captured
            if not item.is_pattern and not _in(item.path, covered) and item.path not in streams
        ),
        capture_patterns=tuple(
            item.path for item in captured if item.is_pattern and not _in(pattern_base(item.path), covered)
        ),
        written_by_worker=tuple(sorted({path for path in streams if not _in(path, covered)})),
    )


def _read_only_inputs(order: Order, tree: str, written: set[str], rooted_paths: set[str]) -> Iterator[Bind]:
    """Rule 7."""
    for item in sorted(order.inputs, key=lambda item: item.path):
        is_file = item.type != "DIRECTORY"
        if item.path not in rooted_paths and not any(is_below(path, item.path) for path in written):
            yield Bind(item.path, mirrored(tree, item.path), writable=False, is_file=is_file)


def outermost(paths: Iterable[str]) -> list[str]:
    """Drop each path that lies below another one."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.split("/")):
        if not kept or not is_below(path, kept[-1]):
            kept.append(path)
    return kept


def mirrored(tree: str, path: str) -> str:
    """Where a container path lies in the tree."""
    return os.path.join(tree, path.lstrip("/")).rstrip("/")


def _output_directory(output: Output) -> str:
    if output.is_pattern:
        return pattern_base(output.path)
    return output.path if output.type == "DIRECTORY" else posixpath.dirname(output.path)


def _is_captured(output: Output) -> bool:
    return is_system(_output_directory(output))


def _in(path: str, directories: Iterable[str]) -> bool:
    return any(is_below(path, directory) for directory in directories)
