"""The spool: where files that pass through this server lie on their way, and how many bytes may pass."""

import os
import shutil
import threading
from pathlib import Path

from tesp_api.worker.errors import StagingError

SPARE_BYTES = 256 * 1024**2
"""Left free on the disk of the spool, which is the store's too."""

_LOOK_EVERY_BYTES = 16 * 1024**2


class Spool:
    """A folder for each job, below `folder`. Everything here blocks; call it from a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sweep(self) -> None:
        """Remove what a server that was killed has left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def make(self, job_id: str) -> Path:
        """An empty folder for one job, closed to other users.

        Raises:
            StagingError: it cannot be made.
        """
        place = self.folder / job_id
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
        except OSError as error:
            raise StagingError(f"The gateway cannot use {place}: {error.strerror}") from error
        return place

    def remove(self, job_id: str) -> None:
        """Remove the job's folder with all that is in it."""
        shutil.rmtree(self.folder / job_id, ignore_errors=True)


class Allowance:
    """What one task may still bring through the gateway in one direction. Safe to use from several threads.

    `setting` is the name of the setting that says `max_bytes`.
    """

    def __init__(self, what: str, max_bytes: int, setting: str, folder: Path) -> None:
        self._what = what
        self._max_bytes = max_bytes
        self._setting = setting
        self._folder = folder
        self._sizes: dict[str, int] = {}
        self._unlooked_bytes = _LOOK_EVERY_BYTES
        self._lock = threading.Lock()
        self.total_bytes = 0

    def check_size(self, place: str, size_bytes: int) -> None:
        """Count a file that has, or will have, `size_bytes`; it may be told again and again.

        Raises:
            StagingError: all files together are too much, or the disk has no room for this one.
        """
        with self._lock:
            more_bytes = size_bytes - self._sizes.get(place, 0)
            self._sizes[place] = size_bytes
            self.total_bytes += more_bytes
            if self.total_bytes > self._max_bytes:
                raise StagingError(
                    f"The {self._what} have more bytes than the gateway may move for one task:"
                    f" {self.total_bytes} or more, and {self._setting} is {self._max_bytes}"
                )
            self._unlooked_bytes += max(more_bytes, 0)
            if self._unlooked_bytes < _LOOK_EVERY_BYTES:
                return
            self._unlooked_bytes = 0
        self._require_room(more_bytes)

    def _require_room(self, more_bytes: int) -> None:
        status = os.statvfs(self._folder)
        free_bytes = status.f_bavail * status.f_frsize
        if free_bytes < SPARE_BYTES + more_bytes:
            raise StagingError(
                f"The {self._what} do not fit on the disk of the gateway: {self._folder} has {free_bytes}"
                f" bytes free, needs {max(more_bytes, 0)} more, and leaves {SPARE_BYTES} free"
            )
