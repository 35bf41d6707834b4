"""Permits: the API lets one worker of an attempt begin, and send its outputs."""

from __future__ import annotations

from typing import Any, Callable

from .cancellation import Cancellation
from .order import Order
from .parallel import Background
from .staging import is_remote


class Permits:
    """Asks in the name of one worker; without a way to the API, or with nothing to send, of nobody."""

    def __init__(
        self, order: Order, worker: str, cancellation: Cancellation, message: Callable[[str], None]
    ) -> None:
        self._order = order
        self._worker = worker
        self._cancellation = cancellation
        self._message = message
        self._channel: Any = None
        self._starting: Background | None = None

    def begin_early(self) -> None:
        """Ask meanwhile, unless fetching inputs takes long: what was not let to start is known not to run."""
        if self._order.permits and not any(is_remote(item) for item in self._order.inputs):
            self._starting = Background(lambda: self._ask("start"))

    def start(self) -> None:
        """Wait for the permit to start. Raises: NotPermitted, ServerAway, Canceled."""
        if self._starting:
            self._starting.join(self._cancellation)
        else:
            self._ask("start")

    def commit(self) -> None:
        """Be let to send outputs. Raises: NotPermitted, Canceled."""
        if self._order.outputs:
            self._ask("commit")

    def _ask(self, step: str) -> None:
        if self._order.permits is None:
            return
        if self._channel is None:
            from .channel import Channel

            self._channel = Channel(self._order.permits, self._cancellation, self._message)
        self._channel.permit(self._worker, step)
