"""Transfers from and to files of the compute site (`file://` URLs and bare absolute paths)."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat

from ..beneath import open_beneath
from ..errors import SourceChanged, StagingError
from ..job import make_directories, write_all
from ..urls import shown
from . import Moved, Site, Source
from .moving import Reading, check_unchanged
from .roots import resolve_in_roots, root_of

FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch_file(url: str, destination: str, site: Site) -> Moved:
    path, _ = resolve_in_roots(url, site.roots)
    if os.path.isdir(path):
        raise StagingError(f"Cannot read {shown(url)}: it is a directory, and its type must say DIRECTORY")
    try:
        return _copy_to_new(path, destination, site)
    except OSError as error:
        raise StagingError(f"Cannot read {shown(url)}: {error.strerror}") from error


def fetch_directory(url: str, destination: str, site: Site) -> dict[str, Moved]:
    """Links are followed as long as they stay in a file root; others are left out with a message."""
    path, _ = resolve_in_roots(url, site.roots)
    moved: dict[str, Moved] = {}
    try:
        _copy_directory(path, destination, "", site, (path,), moved)
        return moved
    except OSError as error:
        raise StagingError(f"Cannot read {error.filename or shown(url)}: {error.strerror}") from error


def send_file(source: Source, url: str, site: Site) -> Moved:
    """The file appears whole: it is written under a temporary name beside, then renamed."""
    path = _writable_path(url, site)
    try:
        folder = _open_folder(os.path.dirname(path))
        try:
            return _place(source, folder, os.path.basename(path), site)
        finally:
            os.close(folder)
    except (OSError, SourceChanged) as error:
        why = getattr(error, "strerror", None) or error
        raise StagingError(f"Cannot write {shown(url)}: {why}") from error


def _place(source: Source, folder: int, name: str, site: Site) -> Moved:
    temporary = f".{os.fsdecode(os.fsencode(name)[:200])}.{secrets.token_hex(4)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o666, dir_fd=folder)
    try:
        try:
            moved = _copy(source, descriptor, site)
            if source.mode & 0o111:
                os.fchmod(descriptor, os.fstat(descriptor).st_mode | 0o111)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        return moved
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)


def make_directory(url: str, site: Site) -> None:
    try:
        os.close(_open_folder(_writable_path(url, site)))
    except OSError as error:
        raise StagingError(f"Cannot make the directory {shown(url)}: {error.strerror}") from error


def _open_folder(path: str) -> int:
    """A descriptor of the directory, which is made with its parents.

    The links of the path were followed before: one that is met now was put there meanwhile, say by a task
    that sees the same folder, and leads elsewhere. Raises: OSError.
    """
    folder = os.open("/", FOLDER)
    for part in filter(None, path.split("/")):
        try:
            try:
                inner = os.open(part, FOLDER, dir_fd=folder)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
                inner = os.open(part, FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def is_in_place(url: str, host_path: str, site: Site) -> bool:
    path, root = resolve_in_roots(url, site.roots)
    return root.mount == "rw" and path == os.path.realpath(host_path)


def _writable_path(url: str, site: Site) -> str:
    path, root = resolve_in_roots(url, site.roots)
    if root.mount == "ro":
        raise StagingError(f"{shown(url)}: {root.path} may only be read (set by `file_roots`)")
    return path


def _copy_directory(
    path: str, destination: str, below: str, site: Site, above: tuple[str, ...], moved: dict[str, Moved]
) -> None:
    """`above` are the real directories on the way here: one that comes again is a loop of links."""
    for name in _names(path):
        site.cancellation.check()
        here, there = os.path.join(path, name), os.path.join(destination, name)
        real = os.path.realpath(here)
        mode = os.stat(real).st_mode if os.path.exists(real) else 0
        if root_of(real, site.roots) is None or not mode:
            site.message(f"Left out {here}: a link to what is not there or in no file root")
        elif stat.S_ISDIR(mode) and real not in above:
            make_directories(there)
            _copy_directory(real, there, f"{below}{name}/", site, (*above, real), moved)
        elif stat.S_ISREG(mode):
            moved[below + name] = _copy_to_new(real, there, site)
        else:
            site.message(f"Left out {here}: a loop of links, or no regular file")


def _names(path: str) -> list[str]:
    folder = open_beneath("/", path.strip("/") or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return sorted(os.listdir(folder))
    finally:
        os.close(folder)


def _copy_to_new(path: str, destination: str, site: Site) -> Moved:
    descriptor = open_beneath("/", path.strip("/"), os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        mode = status.st_mode
        if not stat.S_ISREG(mode):
            kind = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(kind, os.strerror(kind) if stat.S_ISDIR(mode) else "not a regular file", path)
        source = Source(descriptor, status.st_size, status.st_mtime_ns, mode, path)
        target = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            moved = _copy(source, target, site)
            site.progress.finish(source.key)
            os.fchmod(target, 0o777 if mode & 0o111 else 0o666)
            return moved
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StagingError(f"Cannot store {path}: {error.strerror}") from error
            raise
        finally:
            os.close(target)
    finally:
        os.close(descriptor)


def _copy(source: Source, target: int, site: Site) -> Moved:
    """Through our hands rather than in the kernel: the bytes are hashed on their way.

    Raises: StagingError if the file changes meanwhile.
    """
    reading = Reading(source, site)
    for data in reading:
        write_all(target, data)
    check_unchanged(source)
    return reading.finish()
