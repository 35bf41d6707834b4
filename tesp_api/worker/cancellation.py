"""Cancellation: the file `cancel` in the job directory, looked for cheaply and often, or its removal."""

from __future__ import annotations

import os
import time

from .errors import Canceled

LOOK_EVERY_S = 0.1


class Cancellation:
    """Tells whether the API asked for the end. Safe to ask from several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._looked_at = 0.0
        self._requested = False

    @property
    def requested(self) -> bool:
        """Looks at the disk at most every `LOOK_EVERY_S`, so it may be asked for every buffer."""
        now = time.monotonic()
        if not self._requested and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._requested = os.path.exists(self._path) or _is_gone(os.path.dirname(self._path))
        return self._requested

    def check(self) -> None:
        """Raises: Canceled once the file is there, or its directory is not: the attempt was given up."""
        if self.requested:
            raise Canceled("canceled on request")

    def sleep(self, seconds: float) -> None:
        """Sleep, but not past a cancel. Raises: Canceled."""
        end = time.monotonic() + seconds
        while True:
            self.check()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_EVERY_S))


def _is_gone(folder: str) -> bool:
    try:
        os.stat(folder)
    except FileNotFoundError:
        return True
    except OSError:  # a file server that cannot say now
        return False
    return False
