"""Progress: how far transfers are, told in events that stay few however long they take."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Callable, Iterator

EVERY_S = 1.0
"""At first; what is over sooner is never told of."""
SHARE = 0.02
"""Later, this part of the time since the first transfer began lies between two rounds of events."""


class Counter:
    """One file on its way: whoever moves it sets `done_bytes` as it goes."""

    __slots__ = ("done_bytes", "total_bytes")

    def __init__(self, total_bytes: int | None) -> None:
        self.done_bytes = 0
        self.total_bytes = total_bytes


class Tally:
    """What came of one declared input or output, be it one file or many. Safe to use from several threads."""

    def __init__(self, files_total: int | None = None, **about: str) -> None:
        self._about = about
        self._files_total = files_total
        self._files_done = 0
        self._done_bytes = 0
        self._moving: dict[object, Counter] = {}
        self._lock = threading.Lock()

    def begin(self, key: object, total_bytes: int | None = None) -> Counter:
        """A file sets out, under a key of its own; what an earlier try moved under it no longer counts."""
        counter = Counter(total_bytes)
        with self._lock:
            self._moving[key] = counter
        return counter

    def finish(self, key: object) -> None:
        """The file has arrived; a key that did not set out is one that needed no transfer."""
        with self._lock:
            counter = self._moving.pop(key, None)
            self._files_done += 1
            self._done_bytes += counter.done_bytes if counter else 0

    @property
    def has_begun(self) -> bool:
        return bool(self._moving or self._files_done)

    @property
    def is_over(self) -> bool:
        """Whether all of it has arrived, as far as it is known beforehand how many files there are."""
        return self._files_total is None or self._files_done >= self._files_total

    def fields(self) -> dict[str, Any]:
        """As events tell it; the bytes' total is known of single files only."""
        with self._lock:
            moving = list(self._moving.values())
            files_done, done_bytes = self._files_done, self._done_bytes
        total_bytes = None
        if self._files_total == 1:
            total_bytes = moving[0].total_bytes if moving else done_bytes
        return {
            **self._about,
            "done_bytes": done_bytes + sum(counter.done_bytes for counter in moving),
            "total_bytes": total_bytes,
            "files_done": files_done,
            "files_total": self._files_total,
        }


class Progress:
    """Tells of the transfers that are watched, until it is closed.

    A round of events comes each second at first, and ever more seldom: all rounds of a day are some
    400, and a transfer that has not moved since the last one is passed over. Of those that were told
    of, the end is told too.
    """

    def __init__(self, tell: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._began_at = clock()
        self._since: dict[Tally, float] = {}
        self._told: dict[Tally, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Tell of nothing any more, but of the end of those that were told of."""
        with self._lock:
            self._over.set()
            for tally in list(self._told):
                self._end(tally)

    @contextlib.contextmanager
    def watch(self, tally: Tally) -> Iterator[Tally]:
        """Tell of this one until a block of it is left by an exception, or with all its files there."""
        with self._lock:
            self._since.setdefault(tally, self._clock())
            if self._thread is None:
                self._thread = threading.Thread(target=self._tell_until_over, daemon=True)
                self._thread.start()
        has_failed = True
        try:
            yield tally
            has_failed = False
        finally:
            with self._lock:
                if has_failed or tally.is_over:
                    self._end(tally)

    def tell_round(self) -> float:
        """Tell of all that moved and has taken a while; returns how long to wait for the next round."""
        with self._lock:
            now = self._clock()
            for tally, since in () if self._over.is_set() else self._since.items():
                fields = tally.fields()
                if now - since >= EVERY_S and tally.has_begun and fields != self._told.get(tally):
                    self._told[tally] = fields
                    self._say(fields, ended=False)
        return max(EVERY_S, SHARE * (now - self._began_at))

    def _end(self, tally: Tally) -> None:
        self._since.pop(tally, None)
        if self._told.pop(tally, None) is not None:
            self._say(tally.fields(), ended=True)

    def _say(self, fields: dict[str, Any], ended: bool) -> None:
        with contextlib.suppress(OSError):  # a full disk is noticed by those who need it
            self._tell("transfer", **fields, ended=ended)

    def _tell_until_over(self) -> None:
        pause_s = EVERY_S
        while not self._over.wait(pause_s):
            pause_s = self.tell_round()
