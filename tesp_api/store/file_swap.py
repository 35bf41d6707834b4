"""Files of a data folder that are replaced: whole and on the disk, the old ones kept, all of one owner."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

RESTORING = "restoring"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file for its owner alone, on the disk when the block ends, and gone if that raises.

    It belongs to whose folder it is in: what root makes there must not lock the server out.

    Raises:
        OSError: there is such a file, or it cannot be made or written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            _give(descriptor, path.parent)
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def give_to_owner_of_folder(path: Path) -> None:
    """Give a file, or folder, to whose folder it is in; does nothing but for root.

    Raises:
        OSError: it is a link: the owner of the folder could have led us anywhere.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _give(descriptor, path.parent)
    finally:
        os.close(descriptor)


def _give(descriptor: int, folder: Path) -> None:
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def keep_aside(file: Path, folder: Path) -> None:
    """Have a second name for the file in `folder`, made where there is none; does nothing without a file.

    It is on the disk when this returns.
    """
    if file.exists():
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            give_to_owner_of_folder(folder)
        (folder / file.name).hardlink_to(file)
        sync_folder(folder)


def mark_half_restored(folder: Path) -> None:
    """From now on no server begins to use the data folder, until the mark is taken away."""
    mark = folder / RESTORING
    mark.unlink(missing_ok=True)
    with new_file(mark):
        pass
    sync_folder(folder)


def unmark(folder: Path) -> None:
    """All is in place."""
    (folder / RESTORING).unlink(missing_ok=True)
    sync_folder(folder)


def half_restored(folder: Path) -> str:
    """What is to be said of a data folder with that mark; "" of one without."""
    if not (folder / RESTORING).exists():
        return ""
    return f"the data folder {folder} is half restored: call `tesp db restore` again"


def sync_folder(folder: Path) -> None:
    """Bring the names of the folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
