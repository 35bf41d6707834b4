"""Parts of files: sent by the kernel over plain connections, and hashed only where it proves something."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import Any, Callable, Iterator

from ..errors import StagingError
from . import BUFFER_BYTES, Source
from .moving import check_unchanged, new_hash

SENT_AT_ONCE_BYTES = 1024 * 1024
_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Slice:
    """A part of a file on its way, sent once by either way.

    `passing` is told how many bytes of it have gone out; what it raises ends the sending.
    """

    def __init__(self, source: Source, begin: int, end: int, passing: Callable[[int], None]) -> None:
        self._source, self._begin, self._end, self._passing = source, begin, end, passing
        self._position = begin

    def __iter__(self) -> Iterator[bytes]:
        """What is left of it. Raises: StagingError if the file has become shorter."""
        while self._position < self._end:
            self._passing(self._position - self._begin)
            wanted = min(BUFFER_BYTES, self._end - self._position)
            data = os.pread(self._source.descriptor, wanted, self._position) or _ended(self._source)
            self._position += len(data)
            yield data
        self._passing(self._end - self._begin)

    def send_to(self, connection: socket.socket) -> None:
        """Send it without reading it, where the file's system lets the kernel do that.

        Raises: OSError, StagingError if the file has become shorter.
        """
        timeout_s = connection.gettimeout()
        ready = select.poll()
        ready.register(connection, select.POLLOUT)
        while self._position < self._end:
            self._passing(self._position - self._begin)
            wanted = min(SENT_AT_ONCE_BYTES, self._end - self._position)
            try:
                sent = os.sendfile(connection.fileno(), self._source.descriptor, self._position, wanted)
            except BlockingIOError:
                if not ready.poll(None if timeout_s is None else timeout_s * 1000):
                    raise socket.timeout("timed out") from None
                continue
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                break
            self._position += sent or len(_ended(self._source))
        for data in self:
            connection.sendall(data)


def digest_of(
    source: Source, hash_name: str, begin: int, end: int, check: Callable[[], None] = lambda: None
) -> bytes:
    """The hash of a part of the file. Raises as `feed` does."""
    digest = new_hash(hash_name)
    feed(digest, source, begin, end, check)
    return bytes(digest.digest())


def feed(digest: Any, source: Source, begin: int, end: int, check: Callable[[], None]) -> None:
    """Hash on with a part of the file; `check` is called again and again, and may raise.

    Raises: StagingError if the file has become shorter.
    """
    buffer = memoryview(bytearray(min(BUFFER_BYTES, end - begin)))
    position = begin
    while position < end:
        check()
        size = os.preadv(source.descriptor, [buffer[: end - position]], position) or len(_ended(source))
        digest.update(buffer[:size])
        position += size


def _ended(source: Source) -> bytes:
    """Raises: StagingError, always."""
    check_unchanged(source)
    raise StagingError(f"{source.name} ended before its {source.size_bytes} bytes were read")
