"""HTTP by hand: every form of an answer, and everything that is none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPException, RemoteDisconnected

import pytest

from tesp_api.pulsar.http_connections import HttpConnections, NotConnected, NotHttp, Server, TooLarge
from tests.services.tesp import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"


class Scripted:
    """A server that gives these answers, one for each request; None ends the connection instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), b":0"
                )
                self.requests.append(head + await reader.readexactly(int(length.partition(b":")[2])))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                if b"Content-Length" not in answer and b"chunked" not in answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@asynccontextmanager
async def serving(
    *answers: bytes | None, timeout_s: float = 10.0
) -> AsyncIterator[tuple[Scripted, HttpConnections]]:
    scripted = Scripted(*answers)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    place = Server("127.0.0.1", port, None, {"Host": "pulsar"})
    http = HttpConnections(place, timeout_s=timeout_s, connect_s=timeout_s, keepalive_s=10.0)
    try:
        yield scripted, http
    finally:
        await http.aclose()
        server.close()


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with serving(OK, OK) as (server, http):
        assert await http.exchange("POST", "/a?b=c", b"body", 100) == (200, b"yes")
        assert await http.exchange("GET", "/d", None, 100) == (200, b"yes")
    assert server.connections == 1
    assert server.requests[0].startswith(b"POST /a?b=c HTTP/1.1\r\nHost: pulsar\r\n")
    assert server.requests[0].endswith(b"\r\nContent-Length: 4\r\n\r\nbody")
    assert server.requests[1] == b"GET /d HTTP/1.1\r\nHost: pulsar\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x\r\nyes\r\n2\r\n!!\r\n0\r\nT: u\r\n\r\n",
            (200, b"yes!!"),
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", (200, b"until the end")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", (500, b"no")),
    ],
)
async def test_every_form_of_an_answer_is_understood(answer: bytes, expected: tuple[int, bytes]) -> None:
    async with serving(answer) as (_, http):
        assert await http.exchange("GET", "/", None, 100) == expected


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"])
async def test_a_server_that_wants_an_end_gets_it(answer: bytes) -> None:
    async with serving(answer, answer) as (server, http):
        for _ in range(2):
            assert await http.exchange("GET", "/", None, 100) == (200, b"x")
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, RemoteDisconnected),
        (b"SSH-2.0-OpenSSH\r\n\r\n", NotHttp),
        (b"HTTP/1.1 two hundred\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\n", HTTPException),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", TooLarge),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + b"x" * 64 + b"\r\n40\r\n",
            TooLarge,
        ),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 101, TooLarge),
    ],
)
async def test_what_is_no_answer_is_an_error_and_ends_the_connection(
    answer: bytes | None, error: type[Exception]
) -> None:
    async with serving(answer, OK) as (server, http):
        with pytest.raises(error):
            await http.exchange("GET", "/", None, 100)
        server.answers = [OK]
        assert await http.exchange("GET", "/", None, 100) == (200, b"yes")
    assert server.connections == 2


async def test_silence_is_bounded() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", OK, timeout_s=0.2) as (_, http):
        with pytest.raises(TimeoutError):
            await http.exchange("GET", "/", None, 100)


async def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used_again() -> None:
    async with serving(OK) as (server, http):
        await http.exchange("GET", "/", None, 100)
        await http._idle[0].reader.read()  # until its end
        server.answers = [OK]
        assert await http.exchange("GET", "/", None, 100) == (200, b"yes")
    assert server.connections == 2


async def test_nobody_there_is_an_error_of_its_own() -> None:
    place = Server("127.0.0.1", free_port(), None, {})
    with pytest.raises(NotConnected):
        await HttpConnections(place, timeout_s=5, connect_s=5, keepalive_s=1).exchange("GET", "/", None, 100)
