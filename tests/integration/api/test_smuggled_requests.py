"""Requests that can be read in two ways, or lie about where they come from; lines for the audit log."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tesp_api.settings import Settings
from tests.integration.api.hostile_requests import TASKS
from tests.integration.api.live import live_api
from tests.services.tesp import poll

_INNER = f"GET {TASKS} HTTP/1.1\r\nHost: x\r\nX-Request-ID: smuggled\r\n\r\n"
SMUGGLED = {
    "a length and chunks": f"Content-Length: 90\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{_INNER}",
    "chunks and a length": f"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{_INNER}",
    "two lengths": f"Content-Length: 0\r\nContent-Length: {len(_INNER)}\r\n\r\n{_INNER}",
    "a list of lengths": f"Content-Length: 0, {len(_INNER)}\r\n\r\n{_INNER}",
    "a length with a sign": f"Content-Length: +0\r\n\r\n{_INNER}",
    "a length in hexadecimal": f"Content-Length: 0x0\r\n\r\n{_INNER}",
    "a length with an underscore": f"Content-Length: 1_0\r\n\r\n{_INNER}",
    "chunks by another name": f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{_INNER}",
    "chunks twice": f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{_INNER}",
    "chunks with a space before the colon": f"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{_INNER}",
    "chunks in a folded line": f"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{_INNER}",
    "a chunk of a wrong size": f"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{_INNER}",
    "a chunk of a huge size": f"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n{_INNER}",
    "lines without a return": f"X: y\nTransfer-Encoding: chunked\n\n0\n\n{_INNER}",
    "a NUL in a name": f"Content-Length\0: 0\r\n\r\n{_INNER}",
    "a return in a value": f"X: y\rContent-Length: 0\r\n\r\n{_INNER}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smuggled")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    audit = {"reads": True}
    with live_api(Settings.model_validate({"data_dir": str(folder), "audit": audit})) as address:
        yield address


def exchange(url: str, request: bytes) -> bytes:
    """All that comes back until the server ends the connection."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except (ConnectionError, TimeoutError):
            pass
        return answer


@pytest.mark.parametrize("name", SMUGGLED)
def test_no_request_hides_in_another(url: str, folder: Path, name: str) -> None:
    answer = exchange(url, f"POST /tesp/v1/tasks:validate HTTP/1.1\r\nHost: x\r\n{SMUGGLED[name]}".encode())
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1, answer
    assert "smuggled" not in (folder / "audit.log").read_text() if (folder / "audit.log").exists() else True
    assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-Host", "X-Original-URL"]
)
def test_what_a_request_says_of_its_way_opens_nothing(url: str, header: str) -> None:
    """The network is told by the connection, rebinding by `Host`, and paths by the request's line."""
    bent = {"Host": "evil.example", header: "127.0.0.1"}
    assert httpx.get(f"{url}{TASKS}", headers=bent).status_code == 403
    assert httpx.get(f"{url}/nothing", headers={header: TASKS}).status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        'x\n{"who": "root", "action": "delete a task", "status": 200, "outcome": "done"}',
        "x\r\nx",
        "\x1b[2Jx",
        "\u2028x\u2029",
        '"}, {"',
        "\0",
        "ž" * 3000,
    ],
)
def test_no_text_adds_a_line_to_the_audit_log(url: str, folder: Path, text: str) -> None:
    file = folder / "audit.log"

    def written() -> list[bytes]:
        return file.read_bytes().split(b"\n")[:-1] if file.exists() else []

    before = len(written())
    answer = httpx.delete(f"{url}/tesp/v1/tasks/{quote(text, safe='')}", headers={"X-Request-ID": "r-1"})
    assert answer.status_code == 404
    poll(lambda: len(written()) > before, timeout_s=5, why="nothing is written down")
    lines = written()[before:]
    assert len(lines) == 1 and lines[0].isascii()
    told = json.loads(lines[0])
    assert (told["request"], told["status"], told["outcome"]) == ("r-1", 404, "refused")
    assert len(lines[0]) < 4000 and b"\x1b" not in lines[0]
