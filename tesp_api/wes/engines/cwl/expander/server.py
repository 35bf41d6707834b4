"""The channel to the server: one JSON object a line; requests are numbered, answers carry the number.

    {"id": 7, "call": "read", "url": ..., "offset": 0, "limit": 65536}
    {"id": 7, "value": "aGVsbG8="}     or     {"id": 7, "error": "missing" | "refused", "message": ...}

Several may be on their way at one time. `run_step` is answered when the step's task has ended.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from cwltool.errors import WorkflowException

READ_BYTES = 512 * 1024
WRITE_MAX_BYTES = 16 * 1024 * 1024

Answer = Mapping[str, Any]


class Refused(WorkflowException):
    """The server does not allow what was asked for, or cannot do it; the text is its own."""


class Server:
    """Used from one thread; the end of the channel ends the process."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._early: deque[dict[str, Any]] = deque()
        self._awaited: dict[int, Callable[[Answer], None]] = {}
        self._count = 0
        self.order: dict[str, Any] = json.loads(self._lines.readline() or b"null") or _die()
        """What is to be run; the first line that the server sends."""
        threading.Thread(target=self._receive, name="channel", daemon=True).start()

    @property
    def has_steps(self) -> bool:
        """Whether a step is running."""
        return bool(self._awaited)

    def stat(self, url: str) -> tuple[str, int | None]:
        """ "file" or "directory", and the size where it is known. Raises: FileNotFoundError, Refused."""
        found = self._call("stat", url=url)
        return found["kind"], found["size_bytes"]

    def read(self, url: str, offset: int, limit: int) -> bytes:
        """Empty at the end. Raises: FileNotFoundError, Refused."""
        return base64.b64decode(self._call("read", url=url, offset=offset, limit=min(limit, READ_BYTES)))

    def listing(self, url: str) -> list[tuple[str, str, int | None]]:
        """URL, kind and size of what is in a directory. Raises: FileNotFoundError, Refused."""
        return [(one["url"], one["kind"], one["size_bytes"]) for one in self._call("list", url=url)]

    def fingerprint(self, url: str) -> str:
        """The content, as a hash, of what came with the request; "" for all else. Raises: Refused."""
        return str(self._call("fingerprint", url=url))

    def write(self, url: str, data: bytes) -> None:
        """Raises: Refused."""
        if len(data) > WRITE_MAX_BYTES:
            raise Refused(
                f"{url}: a literal file of {len(data)} bytes; at most {WRITE_MAX_BYTES} are allowed"
            )
        self._call("write", url=url, data=base64.b64encode(data).decode())

    def log(self, name: str, text: str) -> None:
        """Add to the run's own stdout or stderr."""
        self._send({"call": "log", "name": name, "text": text})

    def run_step(self, step: Mapping[str, Any], ended: Callable[[Answer], None]) -> None:
        """Have a step run; `ended` is called by `serve`, with the answer or what went wrong."""
        self._awaited[self._ask("run_step", **step)] = ended

    def end(self, outcome: Mapping[str, Any]) -> None:
        """Say how the run has ended, as the last word."""
        self._send({"call": "end", **outcome})

    def serve(self) -> None:
        """Wait for the end of a step, and tell whoever started it."""
        answer = self._early.popleft() if self._early else self._answers.get()
        self._awaited.pop(answer["id"])(answer)

    def _call(self, call: str, /, **arguments: Any) -> Any:
        number = self._ask(call, **arguments)
        while (answer := self._answers.get())["id"] != number:
            self._early.append(answer)
        if "error" not in answer:
            return answer["value"]
        if answer["error"] == "missing":
            raise FileNotFoundError(2, answer["message"], arguments.get("url"))
        raise Refused(answer["message"])

    def _ask(self, call: str, /, **arguments: Any) -> int:
        self._count += 1
        self._send({"id": self._count, "call": call, **arguments})
        return self._count

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(message, default=str).encode() + b"\n")
        except OSError:
            _die()

    def _receive(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self._lines:
                self._answers.put(json.loads(line))
        _die()


def _die() -> Any:
    """The server is gone: so is every reason to live, for what was started here too."""
    with contextlib.suppress(OSError):
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)
