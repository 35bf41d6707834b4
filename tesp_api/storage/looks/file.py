"""Looks at files of this machine, in the file roots, by paths whose links were all followed before."""

import contextlib
import os
import stat as modes
from collections.abc import Iterator, Mapping

from tesp_api.storage.looks.seen import DIRECTORY, Missing, Seen
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer import Site
from tesp_api.worker.transfer.roots import resolve_in_roots, root_of
from tesp_api.worker.urls import local_path, shown


def stat(url: str, site: Site) -> Seen:
    with _opened(url, os.O_PATH, site) as (descriptor, _):
        return _seen(os.fstat(descriptor))


def read(url: str, offset: int, limit: int, site: Site) -> bytes:
    with _opened(url, os.O_RDONLY | os.O_NONBLOCK, site) as (descriptor, _):
        if not modes.S_ISREG(os.fstat(descriptor).st_mode):
            raise StagingError(f"{shown(url)}: no regular file")
        return os.pread(descriptor, limit, offset)


def listing(url: str, site: Site) -> Mapping[str, Seen]:
    """Links that lead out of the roots are left out, and what is neither file nor directory."""
    found: dict[str, Seen] = {}
    with _opened(url, os.O_RDONLY | os.O_NONBLOCK, site) as (descriptor, path):
        for name in os.listdir(descriptor):  # noqa: PTH208 - of the directory that was opened
            real = os.path.realpath(f"{path}/{name}")
            status = os.lstat(real) if os.path.lexists(real) and root_of(real, site.roots) else None
            if status is not None and (modes.S_ISREG(status.st_mode) or modes.S_ISDIR(status.st_mode)):
                found[name] = _seen(status)
    return found


@contextlib.contextmanager
def _opened(url: str, flags: int, site: Site) -> Iterator[tuple[int, str]]:
    """A descriptor of what lies at a path, and the path. What was looked at is what was asked for.

    Raises: StagingError if any part of the path is a link, perhaps since a moment ago.
    """
    path, _ = resolve_in_roots(url, site.roots)
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            opened = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a Path would normalize it
            if not path == local_path(url) == opened:
                raise StagingError(f"{shown(url)}: a part of it is a link, or was moved")
            yield descriptor, path
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failure(url, error) from error


def _seen(status: os.stat_result) -> Seen:
    return DIRECTORY if modes.S_ISDIR(status.st_mode) else Seen("file", status.st_size)


def _failure(url: str, error: OSError) -> StagingError:
    kind = Missing if isinstance(error, (FileNotFoundError, NotADirectoryError)) else StagingError
    return kind(f"{shown(url)}: {error.strerror}")
