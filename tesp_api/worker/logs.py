"""Logs: an executor's stdout or stderr in numbered chunks, of which the middle may be dropped."""

from __future__ import annotations

import contextlib
import os
from typing import Callable

from .job import write_all


class LogStream:
    """Appends raw bytes to `{folder}/{name}.{chunk:06d}`; chunk n holds the bytes from n * chunk_bytes.

    Of more than `max_bytes` the first and the last half are kept (at least one chunk each): the
    chunks between are deleted as the log grows, so disk use is bounded at any moment.
    """

    def __init__(
        self, folder: str, name: str, chunk_bytes: int, max_bytes: int, grew: Callable[[str, int], None]
    ) -> None:
        self.name = name
        self.total_bytes = 0
        self.dropped_bytes = 0
        self._prefix = os.path.join(folder, name)
        self._chunk_bytes = chunk_bytes
        self._head_chunks = max(1, max_bytes // 2 // chunk_bytes)
        self._tail_chunks = max(1, max_bytes // chunk_bytes - self._head_chunks)
        self._grew = grew
        self._descriptor = -1

    def write(self, data: bytes) -> None:
        """Raises: OSError, for example when the disk is full."""
        while data:
            room = self._chunk_bytes - self.total_bytes % self._chunk_bytes
            if room == self._chunk_bytes:
                self._begin_chunk(self.total_bytes // self._chunk_bytes)
            part, data = data[:room], data[room:]
            write_all(self._descriptor, part)
            self.total_bytes += len(part)
        self._grew(self.name, self.total_bytes)

    def _begin_chunk(self, number: int) -> None:
        self.close()
        self._descriptor = os.open(
            f"{self._prefix}.{number:06d}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
        )
        surplus = number - self._tail_chunks
        if surplus >= self._head_chunks:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._prefix}.{surplus:06d}")
            self.dropped_bytes += self._chunk_bytes

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
