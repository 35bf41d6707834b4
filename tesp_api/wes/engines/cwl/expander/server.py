"""The channel to the server as cwltool's single thread uses it: steps end when it looks for them."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable, Mapping
from typing import Any

from cwltool.errors import WorkflowException

from ...inside import channel
from ...inside.channel import Answer, Channel


class Refused(channel.Refused, WorkflowException):
    """The server does not allow what was asked for, or cannot do it; the text is its own."""


class Server(Channel):
    """Used from one thread."""

    refusal = Refused

    def __init__(self, connection: socket.socket) -> None:
        self._running = 0
        self._ended: queue.SimpleQueue[tuple[Callable[[Answer], None], Answer]] = queue.SimpleQueue()
        super().__init__(connection)

    @property
    def has_steps(self) -> bool:
        """Whether a step is running."""
        return self._running > 0

    def run_step(self, step: Mapping[str, Any], ended: Callable[[Answer], None]) -> None:
        """Have a step run; `ended` is called by `serve`, with the answer or what went wrong."""
        self._running += 1
        super().run_step(step, lambda answer: self._ended.put((ended, answer)))

    def serve(self) -> None:
        """Wait for the end of a step, and tell whoever started it."""
        ended, answer = self._ended.get()
        self._running -= 1
        ended(answer)
