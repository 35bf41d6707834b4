"""What each answer, each failure and each thing that is no answer becomes, and that the token stays here."""

import asyncio
import inspect
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tesp_api.errors import PulsarError, PulsarRefused, PulsarUnavailable
from tesp_api.pulsar import rest_http
from tesp_api.pulsar.rest_http import FOREIGN_ERRORS, PulsarFault, PulsarHttp, judge, translate
from tests.services.file_server import FileServer
from tests.services.tesp import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"


def request_errors() -> Iterator[type[Exception]]:
    """Every exception that aiohttp exports and that sending a request may raise."""
    for _, member in inspect.getmembers(aiohttp, inspect.isclass):
        if issubclass(member, aiohttp.ClientError):
            yield member


@pytest.mark.parametrize("foreign", list(request_errors()))
def test_the_table_translates_every_error_of_a_request(foreign: type[Exception]) -> None:
    error = translate("site", foreign.__new__(foreign))
    assert isinstance(error, PulsarUnavailable | PulsarRefused)
    assert "site" in str(error)


def test_the_table_holds_nothing_that_aiohttp_does_not_raise() -> None:
    assert set(FOREIGN_ERRORS) <= set(request_errors())


def test_an_error_that_is_no_request_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        translate("site", ZeroDivisionError())


@pytest.mark.parametrize(
    ("status_code", "expected"),
    [
        (401, PulsarRefused),
        (403, PulsarRefused),
        (404, PulsarRefused),
        (302, PulsarRefused),
        (413, PulsarRefused),
        (408, PulsarUnavailable),
        (429, PulsarUnavailable),
        (500, PulsarFault),
        (502, PulsarUnavailable),
        (503, PulsarUnavailable),
        (504, PulsarUnavailable),
    ],
)
def test_every_answer_has_its_meaning(status_code: int, expected: type[PulsarError]) -> None:
    assert type(judge("site", status_code)) is expected


@pytest.mark.parametrize("url", ["http://host:port/", "ftp://host", "host:80/x", "/only/a/path"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(PulsarRefused, match="site"):
        PulsarHttp("site", url, "secret", 1.0)


@pytest.mark.services
async def test_an_answer_without_end_is_not_taken_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_http, "READ_MAX_BYTES", 100_000)
    with FileServer() as server:
        server.files = {"/small": bytes(100_000), "/large": bytes(10_000_000)}
        http = PulsarHttp("site", server.url, None, 10)
        assert await http.send("GET", "/small") == bytes(100_000)
        with pytest.raises(PulsarRefused, match="site"):
            await http.send("GET", "/large")
        await http.aclose()


class Scripted:
    """A server that gives these answers, one for each request; None ends the connection instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0

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
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@asynccontextmanager
async def serving(
    *answers: bytes | None, timeout_s: float = 10.0, url: str = "http://127.0.0.1:{port}/pulsar/"
) -> AsyncIterator[tuple[Scripted, PulsarHttp]]:
    scripted = Scripted(*answers)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = PulsarHttp("site", url.format(port=port), "hush/?&", timeout_s)
    try:
        yield scripted, http
    finally:
        await http.aclose()
        server.close()


async def test_a_request_has_the_path_of_the_url_the_query_the_token_and_the_body() -> None:
    async with serving(OK, OK) as (server, http):
        assert await http.send("POST", "/jobs/a%2Fb", {"name": "x y&z"}, b"body") == b"yes"
        assert await http.send("PUT", "/cancel") == b"yes"
    first, second = server.requests
    assert first.startswith(
        b"POST /pulsar/jobs/a%2Fb?name=x%20y%26z&private_token=hush%2F%3F%26 HTTP/1.1\r\n"
    )
    assert first.endswith(b"\r\n\r\nbody")
    assert second.startswith(b"PUT /pulsar/cancel?private_token=hush%2F%3F%26 HTTP/1.1\r\n")
    assert server.connections == 1


async def test_a_login_in_the_url_goes_into_a_header() -> None:
    async with serving(OK, url="http://me:s%40ft@127.0.0.1:{port}") as (server, http):
        await http.send("GET", "/healthz")
    assert b"\r\nAuthorization: Basic bWU6c0BmdA==\r\n" in server.requests[0]
    assert b"Host: 127.0.0.1:" in server.requests[0]


async def test_a_file_is_sent_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"lines\n" * 50_000)
    async with serving(OK) as (server, http):
        await http.send_file("/files", {"name": "file"}, tmp_path / "file")
    assert server.requests[0].endswith(b"\r\n\r\n" + b"lines\n" * 50_000)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x\r\nyes\r\n2\r\n!!\r\n0\r\nT: u\r\n\r\n",
            b"yes!!",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"yes"),
    ],
)
async def test_every_form_of_an_answer_is_understood(answer: bytes, expected: bytes) -> None:
    async with serving(answer) as (_, http):
        assert await http.send("GET", "/") == expected


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (None, PulsarUnavailable, "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", PulsarUnavailable, "not HTTP"),
        (b"HTTP/1.1 two hundred\r\n\r\n", PulsarUnavailable, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", PulsarUnavailable, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", PulsarUnavailable, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", PulsarUnavailable, "not HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", PulsarRefused, "elsewhere"),
    ],
)
async def test_what_is_no_answer_is_an_error_without_the_token(
    answer: bytes | None, error: type[Exception], words: str
) -> None:
    async with serving(answer, OK) as (server, http):
        with pytest.raises(error, match=words) as raised:
            await http.send("POST", "/", {"name": "x"}, b"body")
        assert "hush" not in "".join(traceback.format_exception(raised.value))
        server.answers = [OK]
        assert await http.send("GET", "/") == b"yes"


async def test_a_connection_is_used_again_after_an_answer_of_failure() -> None:
    fault = b"HTTP/1.1 500 Oh\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    async with serving(fault, fault, OK) as (server, http):
        for _ in range(2):
            with pytest.raises(PulsarFault):
                await http.send("GET", "/files")
        assert await http.send("GET", "/status") == b"yes"
    assert server.connections == 1


async def test_silence_is_bounded() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", OK, timeout_s=0.2) as (_, http):
        with pytest.raises(PulsarUnavailable, match="does not answer in time"):
            await http.send("GET", "/")


@pytest.mark.parametrize("kind", ["bytes", "file"])
async def test_a_site_that_takes_nothing_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """It accepts the connection, and never reads."""
    (tmp_path / "file").write_bytes(bytes(20_000_000))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        http = PulsarHttp("site", f"http://127.0.0.1:{deaf.getsockname()[1]}", None, 0.3)
        with pytest.raises(PulsarUnavailable, match="'site' does not take in time what it is sent"):
            async with asyncio.timeout(20):
                if kind == "file":
                    await http.send_file("/files", {}, tmp_path / "file")
                else:
                    await http.send("POST", "/files", {}, bytes(20_000_000))
        await http.aclose()


async def test_what_the_sink_raises_is_no_fault_of_the_site() -> None:
    def full(piece: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with serving(OK) as (_, http):
        with pytest.raises(OSError, match="No space left"):
            await http.fetch("/files", {}, full)


async def test_nobody_there_is_told() -> None:
    http = PulsarHttp("site", f"http://127.0.0.1:{free_port()}", "hush", 5)
    with pytest.raises(PulsarUnavailable, match="'site' cannot be reached"):
        await http.send("GET", "/")
    await http.aclose()
