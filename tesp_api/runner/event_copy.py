"""The store's copy of a worker's events: a log beside the task, as the executors' outputs are."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tesp_api.store.base import Claim, TaskStore

MOST_BYTES = 2 * 1024**2
"""Of one attempt; the worker's own limits leave its events below that, except for very many executors."""

_EVERY_S = 0.5
"""A short task's events are stored all at once."""


@dataclass(slots=True)
class EventCopy:
    """The copy of one attempt's events, of which each part is stored once, whoever drives the task."""

    store: TaskStore
    claim: Claim
    attempt: int
    clock: Callable[[], float] = time.monotonic
    _lines: bytes = field(init=False, default=b"")
    _stored_bytes: int | None = field(init=False, default=None)
    _stored_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._stored_at = self.clock()

    def take(self, lines: bytes) -> None:
        """All whole lines that the worker has written so far."""
        self._lines = lines[: lines.rfind(b"\n", 0, MOST_BYTES) + 1]

    @property
    def due_s(self) -> float:
        """In how many seconds to `keep` what was taken; never, if nothing is new."""
        if len(self._lines) == (self._stored_bytes or 0):
            return math.inf
        return max(0.0, self._stored_at + _EVERY_S - self.clock())

    async def keep(self, *, at_once: bool = False) -> None:
        """Store what was taken and is new; unless `at_once`, in a moment if something was stored just now.

        Raises:
            ClaimLost, StoreUnavailable: as they come.
        """
        now = self.clock()
        if len(self._lines) == (self._stored_bytes or 0) or not (
            at_once or now - self._stored_at >= _EVERY_S
        ):
            return
        if self._stored_bytes is None:
            self._stored_bytes = await self.store.log_size(self.claim.task_id, self.attempt, 0, "events")
        if new := self._lines[self._stored_bytes :]:
            await self.store.append_log(self.claim, self.attempt, 0, "events", self._stored_bytes, new)
            self._stored_bytes += len(new)
        self._stored_at = now
