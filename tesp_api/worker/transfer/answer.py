"""Answers of HTTP servers, read from connections that stay open. Source: RFC 9112."""

from __future__ import annotations

import re
import time
from http.client import BadStatusLine, HTTPException, HTTPMessage, HTTPResponse, RemoteDisconnected
from typing import Any, Callable

MAX_HEAD_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
SLOWEST_BYTES_S = 100
PACE_STALLS = 3
"""After so many times `stall_s` of waiting the pace counts: some answers are made as they are sent."""
MOST_INTERIM = 100
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FIELD = re.compile(r"(?m)^([^\s:][^:\r\n]*):([^\r\n]*)\r?\n")
_STATUS = re.compile(r"HTTP/1\.(\d) (\d{3})(?: (.*))?\Z")


class Pace:
    """Receives, and gives up a server that never is silent for long and sends next to nothing."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self.begin(0.0)

    def begin(self, stall_s: float) -> None:
        """Another answer is due: nothing counts until its first bytes are there."""
        self._stall_s, self._waited_s, self._size_bytes = stall_s, 0.0, 0

    def receive(self, size: int) -> bytes:
        """Raises: OSError; HTTPException if fewer than `SLOWEST_BYTES_S` came."""
        began = time.monotonic()
        data = self._receive(size)
        if self._size_bytes:
            self._waited_s += time.monotonic() - began
        self._size_bytes += len(data)
        if self._waited_s >= PACE_STALLS * self._stall_s:
            if self._size_bytes < SLOWEST_BYTES_S * self._waited_s:
                raise HTTPException(f"only {self._size_bytes} bytes came in {self._waited_s:.1f} s")
            self.begin(self._stall_s)
        return data


class Incoming:
    """What comes on a connection, as a file to read; `buffer` is what came and was not read."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self.buffer = bytearray()
        self.is_begun = False

    def makefile(self, _: str) -> Incoming:
        return self

    def fill(self) -> None:
        """Raises: HTTPException at the end, RemoteDisconnected if nothing came before it."""
        data = self._receive(READ_BYTES)
        if not data:
            if not self.buffer:
                raise RemoteDisconnected("the server closed the connection without an answer")
            raise HTTPException("the connection ended in the headers of the answer")
        self.is_begun = True
        self.buffer += data

    def read_head(self) -> str:
        """All lines up to the next empty one, each with its end."""
        while True:
            found = _END_OF_HEAD.search(self.buffer)
            if found:
                head = self.buffer[: found.start() + 1].decode("latin-1")
                del self.buffer[: found.end()]
                return head
            if len(self.buffer) > MAX_HEAD_BYTES:
                raise HTTPException("the headers of the answer do not end")
            self.fill()

    def readline(self, limit: int = READ_BYTES) -> bytes:
        while b"\n" not in self.buffer and len(self.buffer) < limit:
            data = self._receive(READ_BYTES)
            if not data:
                break
            self.buffer += data
        size = min(self.buffer.find(b"\n") + 1 or len(self.buffer), limit)
        return self._take(size)

    def read1(self, size: int = READ_BYTES) -> bytes:
        if not self.buffer:
            return self._receive(size if size >= 0 else READ_BYTES)
        return self._take(size if size >= 0 else len(self.buffer))

    def _take(self, size: int) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def read(self, size: int = -1) -> bytes:
        parts = []
        while size:
            data = self.read1(size)
            if not data:
                break
            parts.append(data)
            size -= len(data) if size > 0 else 0
        return b"".join(parts)

    def readinto(self, target: Any) -> int:
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def flush(self) -> None:
        """Does nothing."""

    close = flush


class Headers(HTTPMessage):
    """Headers that are looked up fast; values of one name are joined with commas."""

    def __init__(self, lines: str) -> None:
        super().__init__()
        found = [(name, value.strip()) for name, value in _FIELD.findall(lines)]
        if len(found) != lines.count("\n"):
            raise HTTPException("a line in the headers of the answer is none")
        self._headers = found
        self._joined = {name.lower(): value for name, value in found}
        if len(self._joined) != len(found):
            for key in self._joined:
                self._joined[key] = ", ".join(value for name, value in found if name.lower() == key)

    def get(self, name: str, failobj: Any = None) -> Any:
        return self._joined.get(name.lower(), failobj)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: object) -> bool:
        return str(name).lower() in self._joined


class Answer(HTTPResponse):
    """An answer whose head is read; it leaves the connection as it is when its body is read."""

    def __init__(self, incoming: Incoming, method: str) -> None:
        super().__init__(incoming, method=method)  # type: ignore[arg-type]
        self.begin()

    def begin(self) -> None:
        status, count = 100, 0
        while 100 <= status < 200:
            count += 1
            if count > MOST_INTERIM:
                raise HTTPException("the answer is put off for ever")
            line, _, lines = self.fp.read_head().partition("\n")  # type: ignore[attr-defined]
            found = _STATUS.match(line.rstrip("\r"))
            if not found:
                raise BadStatusLine(line[:80])
            minor, status, reason = found[1], int(found[2]), found[3]
        self.version = 10 if minor == "0" else 11
        self.code = self.status = status
        self.reason = reason or ""
        self.headers = self.msg = headers = Headers(lines)
        says = str(headers.get("connection", "")).lower()
        self.will_close = "close" in says if self.version == 11 else "keep-alive" not in says
        self.chunked = "chunked" in str(headers.get("transfer-encoding", "")).lower()
        self.chunk_left = None
        self.length = self._body_length(headers)
        if self.length is None and not self.chunked:
            self.will_close = True

    def _body_length(self, headers: Headers) -> int | None:
        if self._method == "HEAD" or self.status in (204, 304):  # type: ignore[attr-defined]
            self.chunked = False
            return 0
        if self.chunked or "content-length" not in headers:
            return None
        lengths = {item.strip() for item in headers["content-length"].split(",")}
        if len(lengths) != 1 or not next(iter(lengths)).isdigit():
            raise HTTPException("the answer states no length, or several")
        return int(lengths.pop())

    def _close_conn(self) -> None:
        self.fp = None  # type: ignore[assignment]
