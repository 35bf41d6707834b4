"""A wall clock that jumps, for one process and its children, by libfaketime; the monotonic clock goes on."""

from collections.abc import Mapping
from pathlib import Path

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
_REPOSITORY = Path(__file__).parents[2]
# the library bars the way on which Python's own goes to the kernel
_SLEEP = """import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""


class JumpingClock:
    """Start a process of Python with `environment`; its time is that of the machine until it is set."""

    def __init__(self, folder: Path) -> None:
        if LIBRARY is None:
            raise FileNotFoundError("no libfaketime.so.1: apt-get install faketime")
        self._file = folder / "time"
        self.set(0)
        (folder / "sitecustomize.py").write_text(_SLEEP)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{folder}:{_REPOSITORY}",
        }

    def set(self, ahead_s: int) -> None:
        """Be so far before the machine's own time, or behind it."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{ahead_s:+d}\n")
        draft.rename(self._file)
