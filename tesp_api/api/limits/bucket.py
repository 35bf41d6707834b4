"""A bucket of something that comes in steadily and is taken in bursts."""

import time
from collections.abc import Callable


class Bucket:
    """Holds up to `size`, fills by `per_s`, may be in debt by as much as it holds. `clock` counts seconds."""

    __slots__ = ("_at", "_clock", "level", "per_s", "size")

    def __init__(self, per_s: float, size: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s, self.size = per_s, size
        self.level = float(size)
        self._clock = clock
        self._at = clock()

    def missing_s(self) -> float:
        """How long until there is one to take; 0 if there is."""
        now = self._clock()
        self.level = min(self.size, self.level + (now - self._at) * self.per_s)
        self._at = now
        return max(0.0, (1 - self.level) / self.per_s)

    def take(self, count: float = 1.0) -> None:
        """Take so many, on credit where there are fewer; a negative number gives back."""
        self.level = min(self.size, max(-self.size, self.level - count))

    @property
    def taken(self) -> int:
        """How many are missing to a full one."""
        return round(self.size - self.level)
