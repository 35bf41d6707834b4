"""The reporter: tells the API by itself what is new, where the site reaches the channel."""

from __future__ import annotations

import base64
import json
import os
import threading
from typing import Any, Iterator

from .cancellation import Cancellation
from .errors import WorkerError
from .job import JobDirectory
from .order import Reach, Site

PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 10.0
LAST_TRY_S = 5.0
PART_BYTES = 512 * 1024
FILE_MAX_BYTES = 8 * 1024 * 1024
"""Of what grows beyond that, the API reads the rest itself."""


class Reporter:
    """Posts news in a thread of its own, so that no work ever waits for the server.

    Files are in the reports: of each what the last report did not have, the heartbeat last. Where the API can
    read the job's files itself (not `site.home`), the logs are left to it, which takes as long as it likes.
    """

    def __init__(self, reach: Reach, job: JobDirectory, site: Site) -> None:
        self._reach = reach
        self._job = job
        self._carries_logs = site.home
        self._chunk_bytes = site.log_chunk_bytes
        self._kept_chunks = max(1, (site.log_max_bytes // site.log_chunk_bytes + 1) // 2)
        self._every_s = site.heartbeat_s
        self._sent: dict[str, int] = {}
        self._news = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self) -> None:
        """There is news."""
        self._news.set()

    def finish(self) -> None:
        """Give the last news a moment; what does not arrive is in the job's directory."""
        self._over.set()
        self._news.set()
        self._thread.join(LAST_TRY_S)

    def _run(self) -> None:
        from .channel import Channel

        channel = Channel(self._reach, Cancellation(os.devnull + "/never"), lambda _: None)
        pause_s = PAUSE_MIN_S
        is_last = False
        while not is_last:
            self._news.wait(self._every_s)
            self._news.clear()
            is_last = self._over.is_set()
            try:
                arrived = self._tell(channel)
            except (WorkerError, OSError, ValueError):  # refused: the attempt is over for the server
                return
            if arrived:
                pause_s = PAUSE_MIN_S
            elif not is_last:
                self._over.wait(pause_s)
                self._news.set()
                pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _tell(self, channel: Any) -> bool:
        """Post all that is new, in as many reports as it takes; False while the server is away."""
        for parts in self._reports():
            answer = channel.report({"files": parts})
            if answer is None:
                return False
            if answer.get("cancel"):
                os.close(os.open(self._job.cancel, os.O_WRONLY | os.O_CREAT, 0o644))
            for part in parts:
                self._sent[part["name"]] = part["offset"] + part["size_bytes"]
            for name in answer.get("again", ()):  # the server has lost what came before
                self._sent.pop(name, None)
                self._news.set()
        return True

    def _reports(self) -> Iterator[list[dict[str, Any]]]:
        """Lists of parts; the last one ends with the heartbeat: what that announces must be there."""
        try:
            with open(self._job.heartbeat, "rb") as file:
                beat = file.read()
        except FileNotFoundError:
            beat = b""
        room = PART_BYTES
        parts: list[dict[str, Any]] = []
        for name in self._names(json.loads(beat or b"{}")):
            while part := self._part_of(name, room):
                parts.append(part)
                room -= part["size_bytes"]
                if room > 0:
                    break
                yield parts
                parts, room = [], PART_BYTES
        yield parts + ([_as_part("heartbeat", 0, beat)] if beat else [])

    def _names(self, beat: dict[str, Any]) -> Iterator[str]:
        if beat.get("ended"):
            yield "result.json"
        yield "events.ndjson"
        logs = beat.get("logs", {}) if self._carries_logs else {}
        for log, size_bytes in logs.items():
            last = (size_bytes - 1) // self._chunk_bytes
            for chunk in range(self._first_chunk(log), last + 1):
                if chunk < self._kept_chunks or chunk > last - self._kept_chunks:  # see `LogStream`
                    yield f"logs/{log}.{chunk:06d}"

    def _first_chunk(self, log: str) -> int:
        """The last one of which something was sent."""
        sent = [name for name in self._sent if name.startswith(f"logs/{log}.")]
        return max((int(name.rpartition(".")[2]) for name in sent), default=0)

    def _part_of(self, name: str, room: int) -> dict[str, Any] | None:
        """What is new of a file, as far as there is room; None if nothing is, or it is not there."""
        offset = self._sent.get(name, 0)
        try:
            with open(os.path.join(self._job.metadata, name), "rb") as file:
                if os.fstat(file.fileno()).st_size > FILE_MAX_BYTES:
                    return None
                file.seek(offset)
                data = file.read(room)
        except FileNotFoundError:
            return None
        return _as_part(name, offset, data) if data else None


def _as_part(name: str, offset: int, data: bytes) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    return {"name": name, "offset": offset, "size_bytes": len(data), "data": text}
