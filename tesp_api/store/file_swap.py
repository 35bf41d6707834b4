"""Files of a data folder that are replaced: whole and on the disk, the old ones kept, all of one owner."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
            give_to_owner_of_folder(path)
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def give_to_owner_of_folder(path: Path) -> None:
    """Does nothing but for root."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def keep_aside(file: Path, folder: Path) -> None:
    """Have a second name for the file in `folder`, made where there is none; does nothing without a file."""
    if file.exists():
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            give_to_owner_of_folder(folder)
        (folder / file.name).hardlink_to(file)


def sync_folder(folder: Path) -> None:
    """Bring the names of the folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
