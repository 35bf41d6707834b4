"""The container's view of the task's files, seen from the host without leaving it.

A program in a container may leave any symlink behind. What it points at is decided here as the
container saw it: absolute targets start at the container's root, and what lies in no mount is
outside. Files are then opened component by component without following any link, so that nothing
that changes in between can lead the worker astray.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections import deque
from typing import Iterable

from .beneath import open_beneath
from .job import make_directories
from .mounts import Bind, is_below

MAX_LINKS = 40


class View:
    """Resolves container paths through a list of binds; a bind added later wins over an equal one."""

    def __init__(self, binds: Iterable[Bind]) -> None:
        self.binds = list(binds)
        self._real_sources = [(bind, os.path.realpath(bind.source)) for bind in self.binds]

    def led_astray(self) -> Bind | None:
        """A bind whose source is no longer what it was when the view was made; None if all are.

        A task that sees a shared directory twice can move the one aside through the other, and put a
        link to anything of the host in its place: so ask before binds are mounted or read anew.
        """
        moved = (bind for bind, real in self._real_sources if os.path.realpath(bind.source) != real)
        return next(moved, None)

    def bind_of(self, path: str) -> Bind | None:
        """The innermost bind that holds a container path; None if it lies in the image."""
        holding = [bind for bind in self.binds if is_below(path, bind.target)]
        return max(holding, key=lambda bind: len(bind.target), default=None)

    def host_path(self, path: str) -> str | None:
        """Where a container path without links in it lies on the host; None if it lies in the image."""
        bind = self.bind_of(path)
        if bind is None:
            return None
        return posixpath.join(bind.source, path[len(bind.target) :].lstrip("/")).rstrip("/")

    def resolve(self, path: str) -> str:
        """The container path after following every link in it; it need not exist.

        Raises: OSError (ELOOP) for a loop.
        """
        waiting = deque(path.split("/"))
        done = "/"
        links = 0
        while waiting:
            part = waiting.popleft()
            if part == "..":
                done = posixpath.dirname(done)
            if part in ("", ".", ".."):
                continue
            here = posixpath.join(done, part)
            target = self._link_target(here)
            if target is None:
                done = here
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done = "/"
            waiting.extendleft(reversed(target.split("/")))
        return done

    def _link_target(self, path: str) -> str | None:
        host = self.host_path(path)
        try:
            return os.readlink(host) if host else None
        except OSError:
            return None

    def lstat(self, path: str) -> os.stat_result | None:
        """What a resolved container path is; None if it is not there or lies in the image.

        Raises: OSError if that cannot be known.
        """
        host = self.host_path(path)
        try:
            return os.lstat(host) if host else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path: str) -> list[str]:
        """The names in a resolved container directory, sorted. Raises: OSError."""
        host = self.host_path(path)
        return sorted(os.listdir(host)) if host else []

    def open(self, path: str, flags: int) -> int:
        """Open a resolved container path; a link that appeared since is refused.

        Raises: OSError.
        """
        bind = self.bind_of(path)
        if bind is None:
            raise FileNotFoundError(errno.ENOENT, "not in a directory of the task", path)
        if flags & (os.O_WRONLY | os.O_RDWR) and not bind.writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        below = path[len(bind.target) :].strip("/")
        if bind.is_shared:  # other tasks may have put links on the way there
            return open_beneath("/", posixpath.join(bind.source, below).strip("/") or ".", flags)
        if not below:
            return open_beneath(os.path.dirname(bind.source), os.path.basename(bind.source), flags)
        return open_beneath(bind.source, below, flags)

    def open_for_reading(self, path: str) -> int:
        """Open a regular file at a container path, following links as the container would.

        Raises: OSError.
        """
        return self.open_regular(self.resolve(path), os.O_RDONLY)

    def open_regular(self, path: str, flags: int) -> int:
        """Open a resolved container path like `open`, but no pipe, socket or device.

        A program may have made the node of any device of the host: it cannot open that itself in
        its container, but a worker that is root can.

        Raises: OSError.
        """
        status = self.lstat(path)  # looked at first: opening some devices has consequences
        if status is None or stat.S_ISREG(status.st_mode):
            descriptor = self.open(path, flags | os.O_NONBLOCK)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)

    def open_for_writing(self, path: str) -> int:
        """Create or empty a file at a container path; makes its parents.

        Raises: OSError.
        """
        resolved = self.resolve(path)
        bind, host = self.bind_of(resolved), self.host_path(resolved)
        if bind is None or host is None:
            raise FileNotFoundError(errno.ENOENT, "not in a directory of the task", path)
        if not bind.is_shared:
            make_directories(os.path.dirname(host))
        descriptor = self.open_regular(resolved, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o666)  # the executor's user may be another one
        return descriptor
