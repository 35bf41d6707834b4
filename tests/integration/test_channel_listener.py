"""Where the worker channel listens, and how it begins and ends."""

import asyncio
import http.client
import logging
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tesp_api.api import channel_listener
from tesp_api.api.channel_listener import ChannelListener
from tesp_api.errors import SettingsError
from tesp_api.settings import Settings
from tesp_api.worker.plain_http import UnixConnection
from tests.services.tesp import free_port


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"{scope['scheme']} {scope['path']}")(scope, receive, send)


def settings(folder: Path, *, embedded: bool = True, **channel: Any) -> Settings:
    site = {} if embedded else {"kind": "rest", "url": "http://127.0.0.1:1"}
    return Settings.model_validate({"data_dir": folder, "channel": channel, "destinations": {"one": site}})


@asynccontextmanager
async def listening(*arguments: Any, **channel: Any) -> AsyncIterator[ChannelListener]:
    listener = ChannelListener(app, settings(*arguments, **channel))
    await listener.open()
    try:
        yield listener
    finally:
        await listener.aclose()


async def get(connection: http.client.HTTPConnection | UnixConnection) -> str:
    def ask() -> str:
        connection.request("GET", "/x")
        return connection.getresponse().read().decode()

    return await asyncio.to_thread(ask)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    pem = tmp_path / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tesp"]
    request += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem")]
    subprocess.run([*request, "-out", str(pem)], check=True, capture_output=True)
    return pem


async def test_the_socket_is_its_owners_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    file = tmp_path / "channel.sock"
    async with listening(tmp_path):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await get(UnixConnection(str(file))) == "http /x"
    assert not list(tmp_path.iterdir())


async def test_a_long_path_is_no_matter(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    async with listening(folder):
        assert await get(UnixConnection(str(folder / "channel.sock"))) == "http /x"


async def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    for name in ("channel.sock", "channel.sock.new"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(tmp_path / name))
    async with listening(tmp_path):
        assert await get(UnixConnection(str(tmp_path / "channel.sock"))) == "http /x"


async def test_a_port_beside_it(tmp_path: Path) -> None:
    port = free_port()
    async with listening(tmp_path, port=port, url="http://t"):
        assert await get(http.client.HTTPConnection("127.0.0.1", port)) == "http /x"
        assert (tmp_path / "channel.sock").exists()


async def test_without_an_embedded_pulsar_there_is_no_socket(tmp_path: Path) -> None:
    async with listening(tmp_path, embedded=False):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("in_one_file", [True, False])
async def test_tls(tmp_path: Path, certificate: Path, in_one_file: bool) -> None:
    port, key = free_port(), tmp_path / "key.pem"
    trust = ssl.create_default_context(cafile=str(certificate))
    files: dict[str, Any] = {"certificate": certificate, "private_key": key}
    if in_one_file:
        certificate.write_text(certificate.read_text() + key.read_text())
        del files["private_key"]
    async with listening(tmp_path, port=port, url="https://t", **files):
        assert await get(http.client.HTTPSConnection("127.0.0.1", port, context=trust)) == "https /x"


async def test_a_port_in_use_stops_the_start_and_leaves_nothing_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port}: Address already in use.*channel\.port"):
            await ChannelListener(app, settings(tmp_path, port=port, url="http://t")).open()
    assert not (tmp_path / "channel.sock").exists()


async def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, certificate: Path) -> None:
    for wrong in (tmp_path / "none.pem", certificate):  # the latter without its key
        listener = ChannelListener(
            app, settings(tmp_path, port=free_port(), url="https://t", certificate=wrong)
        )
        with pytest.raises(SettingsError, match=f"channel.certificate {wrong}"):
            await listener.open()


async def test_it_ends_within_a_second_whatever_is_open(tmp_path: Path) -> None:
    async with listening(tmp_path):
        idle = UnixConnection(str(tmp_path / "channel.sock"))
        await get(idle)
        halfway = UnixConnection(str(tmp_path / "channel.sock"))
        await asyncio.to_thread(halfway.connect)
        halfway.sock.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        began = time.monotonic()
    assert time.monotonic() - began < 2


async def test_signals_and_logs_are_left_alone(tmp_path: Path) -> None:
    def state() -> list[Any]:
        names = ("uvicorn", "uvicorn.error", "uvicorn.access")
        logs = [(one.level, one.propagate, list(one.handlers)) for one in map(logging.getLogger, names)]
        return [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), *logs]

    before = state()
    async with listening(tmp_path):
        assert state() == before


async def test_a_head_without_an_end_is_cut_off(tmp_path: Path) -> None:
    async with listening(tmp_path):
        connection = UnixConnection(str(tmp_path / "channel.sock"))
        await asyncio.to_thread(connection.connect)
        reader, writer = await asyncio.open_unix_connection(sock=connection.sock)
        writer.write(b"POST / HTTP/1.1\r\nX: " + b"x" * 300_000)
        assert b"400" in await asyncio.wait_for(reader.readline(), 10)
        writer.close()


def test_descriptors_are_not_left_open(tmp_path: Path) -> None:
    async def rounds() -> None:
        for _ in range(3):
            async with listening(tmp_path):
                pass

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(rounds())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /x HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1",
    ],
    ids=["nothing", "a part of the head", "a part of the body"],
)
async def test_a_request_that_never_is_whole_keeps_no_connection(
    tmp_path: Path, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_listener, "REQUEST_S", 0.3)

    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await PlainTextResponse("whole")(scope, receive, send)

    port = free_port()
    listener = ChannelListener(patient, settings(tmp_path, embedded=False, port=port, url="http://x"))
    await listener.open()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        async with asyncio.timeout(5):
            while await reader.read(1000):  # an answer may come, but then the end
                pass
        writer.close()
        assert await get(http.client.HTTPConnection("127.0.0.1", port)) == "whole"
    finally:
        await listener.aclose()
