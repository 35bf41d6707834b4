"""A load generator that costs little: raw sockets, keep-alive, and no more of HTTP than a benchmark needs.

Answers must say their content-length, as uvicorn's do.
"""

import asyncio
import re
import socket
import time
from typing import cast
from urllib.parse import urlencode

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BUFFER_BYTES = 1 << 18


def get_request(path: str, *params: tuple[str, str | int], authorization: str = "") -> bytes:
    """A GET of `path` with a query, and with credentials if there are some."""
    target = f"{path}?{urlencode(params)}" if params else path
    login = f"authorization: {authorization}\r\n" if authorization else ""
    return f"GET {target} HTTP/1.1\r\nhost: bench\r\n{login}\r\n".encode()


def post_request(path: str, body: bytes) -> bytes:
    """A POST of a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """The body of the answer, which must be a 200."""
        self._socket.sendall(request)
        answer = self._socket.recv(_BUFFER_BYTES)
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._received()
        missing = end + 4 + _body_length(answer[:end]) - len(answer)
        parts = [answer]
        while missing > 0:
            parts.append(self._received())
            missing -= len(parts[-1])
        return b"".join(parts)[end + 4 :]

    def time(self, request: bytes) -> float:
        """The seconds from sending the request to the last byte of the answer."""
        began = time.perf_counter()
        self.ask(request)
        return time.perf_counter() - began

    def close(self) -> None:
        self._socket.close()

    def _received(self) -> bytes:
        data = self._socket.recv(_BUFFER_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        return data


def throughput(port: int, request: bytes, connections: int, seconds: float) -> float:
    """Answers per second when so many connections ask for `seconds`, each again as soon as it is answered."""
    return uvloop.run(_drive(port, request, connections, seconds))


async def _drive(port: int, request: bytes, connections: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    clients = [_Client(request) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    began = time.perf_counter()
    for client in clients:
        client.ask()
    await asyncio.sleep(seconds)
    answered, took_s = sum(client.answered for client in clients), time.perf_counter() - began
    for client in clients:
        client.close()
    if failed := [client.failure for client in clients if client.failure]:
        raise ConnectionError(failed[0])
    return answered / took_s


class _Client(asyncio.Protocol):
    """Asks again and again on one connection."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._transport: asyncio.Transport
        self.answered = 0
        self.failure = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self) -> None:
        self._transport.write(self._request)

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        try:
            length = _body_length(self._received[:end])
        except ConnectionError as error:
            self.failure = str(error)
            return
        if len(self._received) >= end + 4 + length:
            self._received = b""
            self.answered += 1
            self.ask()


def _body_length(head: bytes) -> int:
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise ConnectionError(f"not the answer that was expected: {head[:500]!r}")
    return int(length[1])
