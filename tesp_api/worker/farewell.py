"""The signal with which a site ends a job, and why, as far as the worker can tell."""

from __future__ import annotations

import os
import signal
import stat
import time
from typing import Any, NoReturn

from .errors import EndedBySite, OutOfTime

TAIL_BYTES = 1000
STDERR = 2
NEARLY = 0.95
"""Of the time limit: a scheduler counts from before the worker's start."""


class Farewell:
    """Listens for SIGTERM from now on; `walltime_s` is what the scheduler was told of the task's time."""

    def __init__(self) -> None:
        self.walltime_s: int | None = None
        self._began_at = time.monotonic()
        signal.signal(signal.SIGTERM, self._end)

    def ignore(self) -> None:
        """What is left to do is done whatever the site says."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _end(self, number: int, _: Any) -> NoReturn:
        """Slurm leaves a line on the job's stderr, where nobody else writes, before it sends the signal.

        Raises: EndedBySite.
        """
        reason = f"The site ended the job with {signal.Signals(number).name}"
        said = last_line(STDERR)
        ran_s = time.monotonic() - self._began_at
        is_over = self.walltime_s is not None and ran_s >= NEARLY * self.walltime_s
        if is_over:
            reason += f" after {ran_s:.0f} s: its time limit is walltime_s = {self.walltime_s}"
        if said:
            reason += f": {said}"
        raise (OutOfTime if is_over or "TIME LIMIT" in said.upper() else EndedBySite)(reason)


def last_line(descriptor: int) -> str:
    """The last line of the file behind a descriptor; "" if that is no file, or is empty."""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return ""
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            file.seek(max(0, found.st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    line = next((line for line in reversed(lines) if line.strip()), "")
    return "".join(letter for letter in line.strip() if letter.isprintable())[:300]
