"""Clients that offer another protocol with their request: it is answered as if they had not."""

import io
import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from tesp_api.settings import Settings
from tests.integration.api.hostile_requests import TASKS, task
from tests.integration.api.live import live_api

H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
WEBSOCKET = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BODY = json.dumps(task(name="offered", description="x" * 200_000)).encode()


class KeptFile(io.BufferedReader):
    """What one answer's reader has read ahead of it is there for the next one's."""

    def close(self) -> None:
        """Stay open, whatever reader is done with it."""


class Peer:
    """A connection, of which any number of answers is read."""

    def __init__(self, opened: socket.socket) -> None:
        self.sendall = opened.sendall
        self._file = KeptFile(opened.makefile("rb", buffering=0))

    def makefile(self, _: str) -> KeptFile:
        return self._file


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Peer]:
    with live_api(Settings.model_validate({"data_dir": str(tmp_path)})) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=10) as opened:
            yield Peer(opened)


def answer(connection: Peer) -> tuple[int, Any]:
    response = HTTPResponse(cast(socket.socket, connection))
    response.begin()
    assert response.headers["content-type"] == "application/json"
    return response.status, json.loads(response.read())


def head(method: str, target: str, *headers: str) -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: tesp\r\n{''.join(headers)}\r\n".encode()


def chunked(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1000], body[1000:])) + b"0\r\n\r\n"


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET])
@pytest.mark.parametrize("pieces", [1, 2, 50])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_its_body_is_read_and_the_connection_goes_on(
    connection: Peer, offer: str, pieces: int, in_chunks: bool
) -> None:
    framing = "Transfer-Encoding: chunked\r\n" if in_chunks else f"Content-Length: {len(BODY)}\r\n"
    request = head("POST", TASKS, offer, framing) + (chunked(BODY) if in_chunks else BODY)
    step = -(-len(request) // pieces)
    for start in range(0, len(request), step):
        connection.sendall(request[start : start + step])
    status, made = answer(connection)
    assert status == 200
    connection.sendall(head("GET", f"{TASKS}/{made['id']}?view=FULL"))
    status, shown = answer(connection)
    assert (status, len(shown["description"])) == (200, 200_000)


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET])
@pytest.mark.parametrize("framing", ["", "Content-Length: 0\r\n"])
def test_requests_without_a_body_are_answered_one_after_the_other(
    connection: Peer, offer: str, framing: str
) -> None:
    connection.sendall(head("GET", TASKS, offer, framing) * 3 + head("GET", f"{TASKS}/nobody", offer))
    assert [answer(connection) for _ in range(3)] == [(200, {"tasks": []})] * 3
    assert answer(connection)[0] == 404


def test_many_offers_in_one_piece_do_no_harm(connection: Peer) -> None:
    connection.sendall(head("GET", "/healthz", "Connection: upgrade\r\nUpgrade: x\r\n") * 2000)
    assert answer(connection) == (200, {"status": "alive"})
