"""The record: what the worker tells the API while it runs (events, messages, heartbeat, bell)."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from .job import JobDirectory, encode_json, now, replace_file, write_all

if TYPE_CHECKING:
    from .report import Reporter

TOGETHER_S = 0.015
"""Events within that time are told together: each beat costs a file, and a look at it."""
GROWTH_S = 0.1
"""The same of what logs grow by."""
MOST_MESSAGES = 300
MESSAGE_MAX_CHARACTERS = 2000


class Record:
    """Writes `events.ndjson` and `heartbeat`, and rings the bell. Safe to use from several threads."""

    def __init__(
        self,
        job: JobDirectory,
        job_id: str,
        heartbeat_s: float,
        bell: str | None,
        reporter: Reporter | None = None,
    ) -> None:
        self._messages: list[str] = []
        self._left_out = 0
        self._job = job
        self._job_id = job_id
        self._heartbeat_s = heartbeat_s
        self._bell = bell
        self._reporter = reporter
        self._lock = threading.Condition()
        self._due = time.monotonic() + heartbeat_s
        self._log_bytes: dict[str, int] = {}
        self._sequence = 0
        self._events_bytes = 0
        self._beats = 0
        self._ended = False

    def start(self) -> None:
        """Beat from now on, in a thread of its own, so that no slow disk or network stops the heart."""
        threading.Thread(target=self._beat_forever, daemon=True).start()
        if self._reporter:
            self._reporter.start()

    def event(self, name: str, **fields: Any) -> None:
        """Append an event; it is in the file before this returns, and told at once if it is the last."""
        with self._lock:
            data = encode_json({"seq": self._sequence, "at": now(), "event": name, **fields}) + b"\n"
            descriptor = os.open(
                self._job.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
            )
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
            self._sequence += 1
            self._events_bytes += len(data)
            self._ended = self._ended or name == "ended"
            if self._ended:
                self._beat()
            self._tell_within(TOGETHER_S)

    def message(self, text: str) -> None:
        """Add a line to the task's `system_logs`; a program that gives rise to too many is cut short."""
        if len(self._messages) >= MOST_MESSAGES:
            self._left_out += 1
            return
        text = text[:MESSAGE_MAX_CHARACTERS]
        self._messages.append(text)
        self.event("message", text=text)

    @property
    def system_logs(self) -> list[str]:
        """All messages so far, and how many there would have been besides."""
        more = [f"Left out {self._left_out} more messages"] if self._left_out else []
        return [*self._messages, *more]

    def grew(self, log: str, size_bytes: int) -> None:
        """Note a log's new size; the heartbeat tells it soon."""
        with self._lock:
            self._log_bytes[log] = size_bytes
            self._tell_within(GROWTH_S)

    def _tell_within(self, time_s: float) -> None:
        due = time.monotonic() + time_s
        if due < self._due:
            self._due = due
            self._lock.notify()

    def _beat_forever(self) -> None:
        with self._lock:
            while not self._ended:
                self._lock.wait(self._due - time.monotonic())
                if not self._ended and time.monotonic() >= self._due:
                    with contextlib.suppress(OSError):  # a full disk must not stop the heart for good
                        self._beat()

    def _beat(self) -> None:
        self._due = time.monotonic() + self._heartbeat_s
        self._beats += 1
        beat = {
            "beat": self._beats,
            "events_bytes": self._events_bytes,
            "logs": self._log_bytes,
            "ended": self._ended,
        }
        replace_file(self._job.heartbeat, encode_json(beat))
        self._ring()

    def finish(self) -> None:
        """After the event `ended`: give the last report a moment."""
        if self._reporter:
            self._reporter.finish()

    def _ring(self) -> None:
        if self._reporter:
            self._reporter.ring()
        if self._bell:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
                bell.setblocking(False)
                bell.sendto(self._job_id.encode(), "\0" + self._bell)
