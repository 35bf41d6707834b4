"""Where that is kept which a site sends by itself, until somebody asks for it."""

import math
from datetime import timedelta
from typing import Protocol


class Mailbox(Protocol):
    """Keeps small files by job and name; what was put is there after a restart, and for other servers.

    Every method raises `StoreUnavailable` when the store cannot be reached.
    """

    async def put(self, job_id: str, name: str, data: bytes, stay: timedelta | None = None) -> None:
        """Keep the file, in place of an earlier one with that name; it need not stay longer than `stay`."""

    async def get(self, job_id: str, name: str) -> bytes | None:
        """The file as it was last put; None if there is none."""

    async def drop(self, job_id: str, name: str | None = None) -> None:
        """Forget one of a job's files, or all of them."""


class MemoryMailbox:
    """A mailbox for one process and its life; beyond `most_bytes` it forgets jobs, the most silent first."""

    def __init__(self, most_bytes: float = math.inf) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._files: dict[str, dict[str, bytes]] = {}

    async def put(self, job_id: str, name: str, data: bytes, stay: timedelta | None = None) -> None:
        """Nothing stays beyond this process, so `stay` is not looked at."""
        files = self._files.pop(job_id, {})
        self._bytes += len(data) - len(files.get(name, b""))
        self._files[job_id] = {**files, name: data}
        while self._bytes > self._most_bytes:
            await self.drop(next(iter(self._files)))

    async def get(self, job_id: str, name: str) -> bytes | None:
        return self._files.get(job_id, {}).get(name)

    async def drop(self, job_id: str, name: str | None = None) -> None:
        files = self._files.get(job_id, {})
        for dropped in [*files] if name is None else [name]:
            self._bytes -= len(files.pop(dropped, b""))
        if not files:
            self._files.pop(job_id, None)
