"""The channel to the server: one JSON object a line; requests are numbered, answers carry the number.

    {"id": 7, "call": "read", "url": ..., "offset": 0, "limit": 65536}
    {"id": 7, "value": "aGVsbG8="}     or     {"id": 7, "error": "missing" | "refused", "message": ...}

Several may be on their way at one time. `run_step` is answered when the step's task has ended.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

READ_BYTES = 512 * 1024
WRITE_MAX_BYTES = 16 * 1024 * 1024

Answer = Mapping[str, Any]


class Refused(Exception):
    """The server does not allow what was asked for, or cannot do it; the text is its own."""


class Channel:
    """May be used from any thread; the end of the channel ends the process."""

    refusal: type[Exception] = Refused
    """What is raised for a refusal: an engine may want it to be one of its own exceptions."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._awaited: dict[int, Callable[[Answer], None]] = {}
        self.order: dict[str, Any] = json.loads(self._lines.readline() or b"null") or _die()
        """What is to be run; the first line that the server sends."""
        threading.Thread(target=self._receive, name="channel", daemon=True).start()

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
            raise self.refusal(f"{url}: a file of {len(data)} bytes; at most {WRITE_MAX_BYTES} are allowed")
        self._call("write", url=url, data=base64.b64encode(data).decode())

    def log(self, name: str, text: str) -> None:
        """Add to the run's own stdout or stderr."""
        self._send({"call": "log", "name": name, "text": text})

    def run_step(self, step: Mapping[str, Any], ended: Callable[[Answer], None]) -> None:
        """Have a step run; `ended` gets the answer, or what went wrong, in the thread that receives."""
        self._ask("run_step", ended, **step)

    def end(self, outcome: Mapping[str, Any]) -> None:
        """Say how the run has ended, as the last word."""
        self._send({"call": "end", **outcome})

    def _call(self, call: str, /, **arguments: Any) -> Any:
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._ask(call, answers.put, **arguments)
        answer = answers.get()
        if "error" not in answer:
            return answer["value"]
        if answer["error"] == "missing":
            raise FileNotFoundError(2, answer["message"], arguments.get("url"))
        raise self.refusal(answer["message"])

    def _ask(self, call: str, answered: Callable[[Answer], None], /, **arguments: Any) -> None:
        number = next(self._numbers)
        self._awaited[number] = answered
        self._send({"id": number, "call": call, **arguments})

    def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, default=str).encode() + b"\n"
        try:
            with self._sending:
                self._connection.sendall(data)
        except OSError:
            _die()

    def _receive(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            for line in self._lines:
                answer = json.loads(line)
                self._awaited.pop(answer["id"])(answer)
        _die()


def _die() -> Any:
    """The server is gone: so is every reason to live, for what was started here too."""
    with contextlib.suppress(OSError):
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)
