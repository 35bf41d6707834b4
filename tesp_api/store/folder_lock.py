"""The lock that gives one process, and only one, a data folder."""

import fcntl
import os
from pathlib import Path

from tesp_api.errors import DataFolderInUse


class FolderLock:
    """An exclusive lock on a folder, held by the open file `lock` in it, which names the holder's pid.

    The operating system lets go of it however the process ends. Programs that the process starts do
    not inherit it, so a job that outlives the server does not keep the next server out.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            DataFolderInUse: another process (or another lock object of this one) has it.
            OSError: the file cannot be made, or is a link.
        """
        file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            os.close(file)
            raise DataFolderInUse(str(self._folder)) from None
        except OSError:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Let go of the lock; does nothing if it is not held. The file stays: removing it would race."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
