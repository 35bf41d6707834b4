"""Where that is kept which a site sends by itself, until somebody asks for it."""

from typing import Protocol


class Mailbox(Protocol):
    """Keeps small files by job and name; what was put is there after a restart, and for other servers.

    Every method raises `StoreUnavailable` when the store cannot be reached.
    """

    async def put(self, job_id: str, name: str, data: bytes) -> None:
        """Keep the file, in place of an earlier one with that name."""

    async def get(self, job_id: str, name: str) -> bytes | None:
        """The file as it was last put; None if there is none."""

    async def drop(self, job_id: str, name: str | None = None) -> None:
        """Forget one of a job's files, or all of them."""


class MemoryMailbox:
    """A mailbox for one process and its life."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, bytes]] = {}

    async def put(self, job_id: str, name: str, data: bytes) -> None:
        self._files.setdefault(job_id, {})[name] = data

    async def get(self, job_id: str, name: str) -> bytes | None:
        return self._files.get(job_id, {}).get(name)

    async def drop(self, job_id: str, name: str | None = None) -> None:
        if name is None:
            self._files.pop(job_id, None)
        else:
            self._files.get(job_id, {}).pop(name, None)
