"""Transfers from and to files of the compute site (`file://` URLs and bare absolute paths)."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat

from ..errors import StagingError
from ..job import make_directories
from ..urls import shown
from . import Site, Source
from .roots import resolve_in_roots, root_of

COPY_BYTES = 8 * 1024 * 1024
CANNOT_COPY_RANGE = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def fetch_file(url: str, destination: str, site: Site) -> None:
    path, _ = resolve_in_roots(url, site.roots)
    if os.path.isdir(path):
        raise StagingError(f"Cannot read {shown(url)}: it is a directory, and its type must say DIRECTORY")
    try:
        _copy_to_new(path, destination, site)
    except OSError as error:
        raise StagingError(f"Cannot read {shown(url)}: {error.strerror}") from error


def fetch_directory(url: str, destination: str, site: Site) -> None:
    """Links are followed as long as they stay in a file root; others are left out with a message."""
    path, _ = resolve_in_roots(url, site.roots)
    try:
        _copy_directory(path, destination, site, (path,))
    except OSError as error:
        raise StagingError(f"Cannot read {error.filename or shown(url)}: {error.strerror}") from error


def send_file(source: Source, url: str, site: Site) -> None:
    """The file appears whole: it is written under a temporary name beside, then renamed."""
    path = _writable_path(url, site)
    temporary = os.path.join(
        os.path.dirname(path), f".{os.path.basename(path)[:200]}.{secrets.token_hex(4)}.part"
    )
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
        )
        try:
            _copy(source.descriptor, descriptor, site)
            if source.mode & 0o111:
                os.fchmod(descriptor, os.fstat(descriptor).st_mode | 0o111)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError as error:
        raise StagingError(f"Cannot write {shown(url)}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def make_directory(url: str, site: Site) -> None:
    try:
        os.makedirs(_writable_path(url, site), exist_ok=True)
    except OSError as error:
        raise StagingError(f"Cannot make the directory {shown(url)}: {error.strerror}") from error


def is_in_place(url: str, host_path: str, site: Site) -> bool:
    path, root = resolve_in_roots(url, site.roots)
    return root.mount == "rw" and path == os.path.realpath(host_path)


def _writable_path(url: str, site: Site) -> str:
    path, root = resolve_in_roots(url, site.roots)
    if root.mount == "ro":
        raise StagingError(f"{shown(url)}: {root.path} may only be read (set by `file_roots`)")
    return path


def _copy_directory(path: str, destination: str, site: Site, above: tuple[str, ...]) -> None:
    """`above` are the real directories on the way here: one that comes again is a loop of links."""
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        site.cancellation.check()
        here, there = os.path.join(path, name), os.path.join(destination, name)
        real = os.path.realpath(here)
        mode = os.stat(real).st_mode if os.path.exists(real) else 0
        if root_of(real, site.roots) is None or not mode:
            site.message(f"Left out {here}: a link to what is not there or in no file root")
        elif stat.S_ISDIR(mode) and real not in above:
            make_directories(there)
            _copy_directory(real, there, site, (*above, real))
        elif stat.S_ISREG(mode):
            _copy_to_new(real, there, site)
        else:
            site.message(f"Left out {here}: a loop of links, or no regular file")


def _copy_to_new(path: str, destination: str, site: Site) -> None:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        mode = os.fstat(source).st_mode
        if not stat.S_ISREG(mode):
            kind = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(kind, os.strerror(kind) if stat.S_ISDIR(mode) else "not a regular file", path)
        target = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _copy(source, target, site)
            os.fchmod(target, 0o777 if mode & 0o111 else 0o666)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy(source: int, target: int, site: Site) -> None:
    """Copy from one file's position to the other's, in the kernel where it can."""
    in_kernel = True
    while True:
        site.cancellation.check()
        if in_kernel:
            try:
                if os.copy_file_range(source, target, COPY_BYTES):
                    continue
            except OSError as error:
                if error.errno not in CANNOT_COPY_RANGE:
                    raise
            in_kernel = False  # also at the end: some file systems answer 0 for what can be read
        try:
            if not os.sendfile(target, source, None, COPY_BYTES):
                return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            _copy_by_hand(source, target, site)
            return


def _copy_by_hand(source: int, target: int, site: Site) -> None:
    while True:
        site.cancellation.check()
        data = os.read(source, 1024 * 1024)
        if not data:
            return
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
