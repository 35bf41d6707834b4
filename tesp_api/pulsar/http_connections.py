"""A few connections of HTTP/1.1 to one server, for small requests by the hundred each second.

A general client spends more of the processor on such a request than Pulsar does on its answer. This one sends
a head and a body, reads a head and a body, and keeps the connection. What it raises is made ours by
`rest_http`.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, RemoteDisconnected

_HEAD_MAX_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024
_NO_BODY = (204, 304)


class NotHttp(HTTPException):
    """The server's answer is not HTTP/1.1."""


class TooLarge(HTTPException):
    """The server's answer has more bytes than are taken."""


class NotConnected(HTTPException):
    """No connection could be made."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect to; with `tls`, by it. `headers` go with every request."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    headers: Mapping[str, str]


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.idle_since = 0.0

    def is_fresh(self, keepalive_s: float) -> bool:
        """Whether it may be used again: not for long idle, not closed by the server, nothing unasked for."""
        return (
            time.monotonic() - self.idle_since < keepalive_s
            and not self.reader.at_eof()
            and not self.writer.is_closing()
        )


class HttpConnections:
    """All methods belong to one event loop. How many requests are sent at once is the caller's to limit."""

    def __init__(self, server: Server, *, timeout_s: float, connect_s: float, keepalive_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._connect_s = connect_s
        self._keepalive_s = keepalive_s
        self._idle: list[_Connection] = []

    async def aclose(self) -> None:
        """Close the connections that nobody uses; others are closed as soon as they are not used any more."""
        self._keepalive_s = 0.0
        while self._idle:
            await _close(self._idle.pop())

    async def exchange(self, method: str, target: str, body: bytes | None, most: int) -> tuple[int, bytes]:
        """The status and the body of the answer, of which no more than `most` bytes are taken.

        Raises:
            NotConnected, TimeoutError, OSError, EOFError, HTTPException: there is no (whole) answer.
        """
        connection = await self._connected()
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                status, data, is_kept = await self._ask(
                    connection, self._request(method, target, body), most, limit
                )
        except BaseException:
            connection.writer.transport.abort()
            raise
        if is_kept and self._keepalive_s:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.writer.close()
        return status, data

    async def _connected(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()  # the one used last: the others get old and go
            if connection.is_fresh(self._keepalive_s):
                return connection
            connection.writer.close()
        server = self._server
        try:
            async with asyncio.timeout(self._connect_s):
                reader, writer = await asyncio.open_connection(
                    server.host, server.port, ssl=server.tls, limit=_HEAD_MAX_BYTES
                )
        except (OSError, UnicodeError) as error:  # TimeoutError is one of the first
            raise NotConnected from error
        return _Connection(reader, writer)

    def _request(self, method: str, target: str, body: bytes | None) -> bytes:
        lines = [
            f"{method} {target} HTTP/1.1",
            *(f"{name}: {text}" for name, text in self._server.headers.items()),
        ]
        if body is not None:
            lines.append("Content-Type: application/octet-stream")
        if body is not None or method == "POST":
            lines.append(f"Content-Length: {len(body or b'')}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    async def _ask(
        self, connection: _Connection, request: bytes, most: int, limit: asyncio.Timeout
    ) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection is good for another request."""
        connection.writer.write(request)
        with contextlib.suppress(ConnectionError):  # it may have answered before it had all of the body
            await connection.writer.drain()
        status = 100
        while 100 <= status < 200:
            version, status, headers = await self._read_head(connection.reader)
        body = _Body(connection.reader, most, limit, self._timeout_s)
        is_kept = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        if status in _NO_BODY:
            return status, b"", is_kept
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return status, await body.chunked(), is_kept
        if "content-length" in headers:
            return status, await body.exactly(_size(headers["content-length"], 10)), is_kept
        return status, await body.until_end(), False

    async def _read_head(self, reader: asyncio.StreamReader) -> tuple[str, int, dict[str, str]]:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise NotHttp from error
            raise RemoteDisconnected("") from error
        except asyncio.LimitOverrunError as error:
            raise NotHttp from error
        first, *lines = head[:-4].split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
            raise NotHttp
        parts = (line.partition(":") for line in lines)
        return version, int(rest[:3]), {name.strip().lower(): text.strip() for name, _, text in parts}


class _Body:
    """Reads the body of one answer: each piece has its own time, and all of them together a size."""

    def __init__(
        self, reader: asyncio.StreamReader, most: int, limit: asyncio.Timeout, timeout_s: float
    ) -> None:
        self._reader = reader
        self._left = most
        self._limit = limit
        self._timeout_s = timeout_s

    async def exactly(self, size_bytes: int) -> bytes:
        self._take(size_bytes)
        if size_bytes <= _PIECE_BYTES:
            return await self._reader.readexactly(size_bytes)
        data = bytearray()
        while len(data) < size_bytes:
            data += await self._reader.readexactly(min(_PIECE_BYTES, size_bytes - len(data)))
            self._go_on()
        return bytes(data)

    async def chunked(self) -> bytes:
        data = bytearray()
        while size_bytes := _size((await self._line()).partition(b";")[0].decode("latin-1"), 16):
            data += await self.exactly(size_bytes)
            await self._line()
        while await self._line():  # trailers
            pass
        return bytes(data)

    async def until_end(self) -> bytes:
        data = bytearray()
        while piece := await self._reader.read(_PIECE_BYTES):
            self._take(len(piece))
            data += piece
            self._go_on()
        return bytes(data)

    async def _line(self) -> bytes:
        try:
            return (await self._reader.readuntil(b"\r\n"))[:-2]
        except asyncio.LimitOverrunError as error:
            raise NotHttp from error

    def _take(self, size_bytes: int) -> None:
        self._left -= size_bytes
        if self._left < 0:
            raise TooLarge

    def _go_on(self) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time() + self._timeout_s)


def _size(text: str, base: int) -> int:
    digits = text.strip()
    if not digits.isalnum():  # int() takes signs and underscores, too
        raise NotHttp
    try:
        return int(digits, base)
    except ValueError as error:
        raise NotHttp from error


async def _close(connection: _Connection) -> None:
    connection.writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await connection.writer.wait_closed()
