"""Looks at files of this machine, in the file roots."""

import os
import stat as modes
from collections.abc import Mapping

from tesp_api.storage.looks.seen import DIRECTORY, Missing, Seen
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer import Site
from tesp_api.worker.transfer.roots import resolve_in_roots, root_of
from tesp_api.worker.urls import shown


def stat(url: str, site: Site) -> Seen:
    path, _ = resolve_in_roots(url, site.roots)
    try:
        return _seen(os.lstat(path))
    except OSError as error:
        raise _failure(url, error) from error


def read(url: str, offset: int, limit: int, site: Site) -> bytes:
    path, _ = resolve_in_roots(url, site.roots)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not modes.S_ISREG(os.fstat(descriptor).st_mode):
                raise StagingError(f"{shown(url)}: no regular file")
            return os.pread(descriptor, limit, offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failure(url, error) from error


def listing(url: str, site: Site) -> Mapping[str, Seen]:
    """Links that lead out of the roots are left out, and what is neither file nor directory."""
    path, _ = resolve_in_roots(url, site.roots)
    found: dict[str, Seen] = {}
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                real = os.path.realpath(entry.path)
                status = os.lstat(real) if os.path.lexists(real) and root_of(real, site.roots) else None
                if status is not None and (modes.S_ISREG(status.st_mode) or modes.S_ISDIR(status.st_mode)):
                    found[entry.name] = _seen(status)
    except OSError as error:
        raise _failure(url, error) from error
    return found


def _seen(status: os.stat_result) -> Seen:
    return DIRECTORY if modes.S_ISDIR(status.st_mode) else Seen("file", status.st_size)


def _failure(url: str, error: OSError) -> StagingError:
    kind = Missing if isinstance(error, (FileNotFoundError, NotADirectoryError)) else StagingError
    return kind(f"{shown(url)}: {error.strerror}")
