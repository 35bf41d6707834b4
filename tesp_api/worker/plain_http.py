"""HTTP/1.1 by hand for the channel: importing `http.client` takes longer than many a task.

Of `http.client` it has what the channel uses, and no more.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from .urls import Origin

HEAD_MAX_BYTES = 64 * 1024


class PlainConnection:
    """Speaks to one server, connected with the first request; everything that goes wrong is an OSError."""

    def __init__(self, origin: Origin, timeout_s: float, ca_pem: str | None = None) -> None:
        self.sock: Any = None
        self.status = 0
        self._origin, self._timeout_s, self._ca_pem = origin, timeout_s, ca_pem
        self._file: Any = None

    def connect(self) -> None:
        origin = self._origin
        self.sock = socket.create_connection((origin.host, origin.port), self._timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if origin.scheme == "https":
            import ssl

            context = ssl.create_default_context(cadata=self._ca_pem)
            self.sock = context.wrap_socket(self.sock, server_hostname=origin.host)

    def request(self, method: str, target: str, body: bytes = b"", headers: Any = ()) -> None:
        if self.sock is None:
            self.connect()
        host = self._origin.host
        host = f"[{host}]" if ":" in host else host
        fields = {"Host": f"{host}:{self._origin.port}", "Content-Length": len(body), **dict(headers)}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self._file = self._file or self.sock.makefile("rb")

    def getresponse(self) -> PlainConnection:
        """Itself, with the `status`; `read` gives the body."""
        version, self.status = self._status()
        while self.status < 200:
            self._fields()
            version, self.status = self._status()
        fields = self._fields()
        self._is_kept = version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
        self._is_chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        self._length = int(fields["content-length"]) if "content-length" in fields else None
        return self

    def read(self) -> bytes:
        if self._is_chunked:
            parts = []
            while size_bytes := int(self._line().partition(";")[0], 16):
                parts.append(self._exactly(size_bytes))
                self._line()
            self._fields()
            data = b"".join(parts)
        elif self._length is not None:
            data = self._exactly(self._length)
        else:
            data, self._is_kept = self._file.read(), False
        if not self._is_kept:
            self.close()
        return data

    def close(self) -> None:
        for one in (self._file, self.sock):
            if one is not None:
                one.close()
        self.sock = self._file = None

    def _status(self) -> tuple[str, int]:
        version, _, rest = self._line().partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ConnectionError("the server does not speak HTTP")
        return version, int(rest[:3])

    def _fields(self) -> dict[str, str]:
        fields, left = {}, HEAD_MAX_BYTES
        while line := self._line():
            left -= len(line)
            if left < 0:
                raise ConnectionError("the head of the answer has no end")
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        return fields

    def _line(self) -> str:
        line = self._file.readline(HEAD_MAX_BYTES)
        if not line.endswith(b"\n"):
            raise ConnectionError("the server closed the connection")
        return str(line, "latin-1").rstrip("\r\n")

    def _exactly(self, size_bytes: int) -> bytes:
        data: bytes = self._file.read(size_bytes)
        if len(data) < size_bytes:
            raise ConnectionError("the server closed the connection")
        return data


class UnixConnection(PlainConnection):
    """HTTP over a socket file, whose path may be longer than a socket's address."""

    def __init__(self, path: str, timeout_s: float = 30.0) -> None:
        super().__init__(Origin("http", "localhost", 80, "/", None), timeout_s)
        self._path = path

    def connect(self) -> None:
        folder, name = os.path.split(self._path)
        here = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self._timeout_s)
            self.sock.connect(f"/proc/self/fd/{here}/{name}")
        finally:
            os.close(here)


def http_errors() -> tuple[type[Exception], ...]:
    """What an exchange may raise, those of `http.client` only once it is imported as a whole."""
    error = getattr(sys.modules.get("http.client"), "HTTPException", None)
    return (OSError, ValueError, error) if error else (OSError, ValueError)
