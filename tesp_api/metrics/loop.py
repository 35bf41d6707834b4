"""How late the event loop is: whatever holds it up holds all requests and all tasks up."""

import asyncio
import time
from collections.abc import Sequence

from tesp_api.metrics.instruments import Durations, Gauge, Instrument

_EVERY_S = 0.5
_BOUNDS_S = (0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1, 5)


class LoopLag:
    """Sleeps, and looks how much longer that was than asked for."""

    def __init__(self) -> None:
        self.lag = Durations(
            "tesp_event_loop_lag_seconds",
            "How late the event loop came back to a timer, looked at twice a second.",
            bounds_s=_BOUNDS_S,
        )
        self._worst = Gauge(
            "tesp_event_loop_lag_max_seconds", "The worst of these since it was last asked for."
        )
        self._worst_s = 0.0
        self._looking: asyncio.Task[None] | None = None

    @property
    def instruments(self) -> Sequence[Instrument]:
        """All of them."""
        return (self.lag, self._worst)

    async def start(self) -> None:
        """Begin to look."""
        self._looking = asyncio.create_task(self._look_on(), name="look at the event loop")

    async def stop(self) -> None:
        """End that."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def look(self) -> None:
        """Set what is so now."""
        self._worst.set(self._worst_s)
        self._worst_s = 0.0

    async def _look_on(self) -> None:
        while True:
            due_at = time.monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            late_s = max(0.0, time.monotonic() - due_at)
            self._worst_s = max(self._worst_s, late_s)
            self.lag.add(late_s)
