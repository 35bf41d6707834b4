"""Removal of the task's files, whatever a program left there."""

from __future__ import annotations

import contextlib
import os
import stat

from .process import run_command

LARGE_BYTES = 32 * 1024**2
MOST_HELD_BYTES = 4 * 1024**3


class Held:
    """Large files without a name, whose space is freed when they are let go: 0.3 s for each gigabyte.

    They are few enough that this takes a second or two. There are none where open files keep a name: on
    NFS, and on all else that is no block device.
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self._size_bytes = 0

    def add(self, entry: os.DirEntry[str]) -> None:
        """Hold this file if it is large; it may be unlinked then."""
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            size_bytes = status.st_blocks * 512
            is_fit = os.major(status.st_dev) and self._size_bytes + size_bytes <= MOST_HELD_BYTES
            if size_bytes >= LARGE_BYTES and is_fit:
                self._descriptors.append(os.open(entry.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
                self._size_bytes += size_bytes

    def let_go(self) -> None:
        """As the end of the process does."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def remove_for_certain(path: str, held: Held | None = None) -> bool:
    """Remove a tree however deep it is, but for what is to be held; returns whether it is gone."""
    with contextlib.suppress(OSError, RecursionError):
        remove_tree(path, held)
    if os.path.lexists(path):
        run_command(["rm", "-rf", "--", path])  # it walks trees deeper than the longest path
    return not os.path.lexists(path)


def remove_tree(path: str, held: Held | None = None) -> None:
    """Remove a directory with all below it, following no link; does nothing if it is not there.

    Raises: OSError for the first entry that could not be removed, after all others are gone.
    """
    failed: OSError | None = None
    try:
        entries = _list_for_removal(path)
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path, held)
            else:
                if held is not None:
                    held.add(entry)
                os.unlink(entry.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    os.rmdir(path)


def _list_for_removal(path: str) -> list[os.DirEntry[str]]:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_IMODE(mode) & 0o700 != 0o700:
            os.chmod(path, 0o700)  # a program may have left a directory that its owner cannot enter
    except PermissionError:
        pass
    with os.scandir(path) as entries:
        return list(entries)
