"""Clients that take their time: none holds a connection of the server for long, and all others are served."""

import json
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tesp_api.cli import http_protocol
from tesp_api.settings import Settings
from tests.integration.api.hostile_requests import TASKS
from tests.integration.api.live import live_api
from tests.services.tesp import poll

HEAD_S, REQUEST_S, UNREAD_S = 0.6, 1.2, 0.8


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("HEAD_S", "REQUEST_S", "UNREAD_S"):
        monkeypatch.setattr(http_protocol, name, globals()[name])
    with live_api(Settings.model_validate({"data_dir": str(tmp_path)})) as address:
        yield address


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port), timeout=20)


def drip(client: socket.socket, drop: bytes, for_s: float) -> None:
    """Send a drop again and again, until the server answers, or will not have it any more."""
    end = time.monotonic() + for_s
    while time.monotonic() < end and not select.select([client], [], [], 0.05)[0]:
        try:
            client.sendall(drop)
        except OSError:
            return


_POST = f"POST {TASKS} HTTP/1.1\r\nHost: x\r\n".encode()
SLOW = {
    "nothing": (b"", b"", HEAD_S, None),
    "empty lines": (b"", b"\r\n", HEAD_S, None),
    "a head": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n", HEAD_S, "head"),
    "a first line": (b"GET /", b"x", HEAD_S, "head"),
    "a body": (_POST + b"Content-Length: 9999\r\n\r\n{", b" ", REQUEST_S, "body"),
    "a body in chunks": (_POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", REQUEST_S, "body"),
}


@pytest.mark.parametrize("name", SLOW)
def test_what_comes_drop_by_drop_is_not_waited_for(url: str, name: str) -> None:
    begin, drop, limit_s, part = SLOW[name]
    with connect(url) as client:
        began = time.monotonic()
        client.sendall(begin)
        drip(client, drop, limit_s + 10)
        assert time.monotonic() - began < limit_s + 5
        client.settimeout(5)
        try:
            answer = client.recv(65536)
        except ConnectionError:
            answer = b""  # what was sent after the end makes the kernel forget the answer
    if part and answer:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert f"the {part} of the request" in json.loads(answer.partition(b"\r\n\r\n")[2])["msg"]
    assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nX: ", SLOW["a body"][0]])
def test_who_stops_in_the_middle_is_told(url: str, begin: bytes) -> None:
    with connect(url) as client:
        client.sendall(begin)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status_code"] == 408


def test_who_is_quick_may_stay(url: str) -> None:
    """Requests one after the other, for longer than any of the limits."""
    began = time.monotonic()
    with httpx.Client(base_url=url) as client:
        while time.monotonic() - began < REQUEST_S + 0.5:
            assert client.get("/healthz").status_code == 200
            assert (
                client.post(TASKS, json={"executors": [{"image": "a", "command": ["b"]}]}).status_code == 200
            )
            time.sleep(HEAD_S / 2)


def test_who_reads_no_answer_is_let_go(url: str) -> None:
    task = {"executors": [{"image": "a", "command": ["b"]}], "description": "x" * 1_000_000}
    task_id = httpx.post(f"{url}{TASKS}", json=task).json()["id"]
    request = f"GET {TASKS}/{task_id}?view=FULL HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with connect(url) as client:
        client.sendall(request * 20)
        client.settimeout(0.05)
        poll(lambda: _is_cut(client), timeout_s=15, why="the connection is still open", every_s=0.1)
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_who_reads_slowly_but_steadily_gets_all(url: str) -> None:
    """Also after the server has ended the connection, which it does soon after its last answer."""
    task = {"executors": [{"image": "a", "command": ["b"]}], "description": "x" * 7_500_000}
    task_id = httpx.post(f"{url}{TASKS}", json=task, timeout=20).json()["id"]
    place = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        client.settimeout(20)
        client.connect((place.hostname, place.port))
        client.sendall(f"GET {TASKS}/{task_id}?view=FULL HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        began, answer = time.monotonic(), b""
        while data := client.recv(64 * 1024):
            answer += data
            time.sleep(len(data) / 1_500_000)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert len(json.loads(body)["description"]) == 7_500_000
    assert time.monotonic() - began > 3 * UNREAD_S


def _is_cut(client: socket.socket) -> bool:
    """Whether the server has ended the connection, without reading what it has sent."""
    try:
        client.sendall(b"GET")
    except TimeoutError:
        return False
    except OSError:
        return True
    return False
