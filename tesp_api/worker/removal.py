"""Removal of the task's files, whatever a program left there."""

from __future__ import annotations

import contextlib
import os
import stat

from .process import run_command


def remove_for_certain(path: str) -> bool:
    """Remove a tree however deep it is; returns whether it is gone."""
    with contextlib.suppress(OSError, RecursionError):
        remove_tree(path)
    if os.path.lexists(path):
        run_command(["rm", "-rf", "--", path])  # it walks trees deeper than the longest path
    return not os.path.lexists(path)


def remove_tree(path: str) -> None:
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
                remove_tree(entry.path)
            else:
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
