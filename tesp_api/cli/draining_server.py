"""uvicorn, which on a first SIGTERM or Ctrl-C lets open requests end before it stops to listen."""

from types import FrameType

import uvicorn

from tesp_api.api.draining import Drain

_STREAMS_MAY_TAKE_S = 1


class DrainingServer(uvicorn.Server):
    """Stops as soon as no request is open, after `drain_s` in any case; at once if it is told twice."""

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        config.timeout_graceful_shutdown = _STREAMS_MAY_TAKE_S
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self._drain.is_on:
            super().handle_exit(sig, frame)
        self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop now."""
        if self._drain.is_on and (not self.server_state.tasks or self._drain.lasted_s >= self._drain_s):
            self.should_exit = True
        return await super().on_tick(counter)
