"""Whatever is sent: no answer is a 5xx, every refusal has the one shape, and the store stays as it was."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tesp_api.settings import Settings
from tests.integration.api.hostile_requests import HOSTILE, TASKS, Hostile, task
from tests.integration.api.kinds import STORES, store_table
from tests.integration.api.live import live_api, send_raw


@pytest.fixture(scope="module", params=STORES)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a few tasks, one of them canceled."""
    folder = tmp_path_factory.mktemp("hostile")
    tables = {"server": {"max_body_bytes": 300_000}, "store": store_table(request, folder)}
    settings = Settings.model_validate({"data_dir": str(folder)} | tables)
    with live_api(settings) as address:
        for number in range(3):
            made = httpx.post(f"{address}{TASKS}", json=task(name=f"t{number}", tags={"k": "v"}))
            assert made.status_code == 200
        assert httpx.post(f"{address}{TASKS}/{made.json()['id']}:cancel").status_code == 200
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as opened:
        yield opened


@pytest.fixture(scope="module")
def before(client: httpx.Client) -> Any:
    return stored(client)


def raw(hostile: Hostile) -> bytes:
    names = {name.lower() for name, _ in hostile.headers}
    headers = [*hostile.headers, ("Connection", "close")]
    headers += [] if "host" in names else [("Host", "tesp")]
    if hostile.method == "POST" and "content-length" not in names:
        headers.append(("Content-Length", str(len(hostile.body))))
    lines = [f"{hostile.method} {hostile.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + hostile.body


def stored(client: httpx.Client) -> Any:
    return client.get(f"{TASKS}?view=FULL&page_size=2047").json()


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_request(url: str, client: httpx.Client, before: Any, hostile: Hostile) -> None:
    status, body = send_raw(url, raw(hostile))
    assert status == hostile.status, body[:300]
    if status >= 400:
        error = json.loads(body)
        assert error["status_code"] == status
        assert error["msg"]
        assert len(body) < 50_000
    assert stored(client) == before


def test_a_repeated_key_is_named(url: str) -> None:
    _, body = send_raw(url, raw(Hostile("", 400, "POST", TASKS, b'{"executors": [], "n": {"x": 1, "x": 2}}')))
    assert json.loads(body)["faults"] == [{"field": "body", "message": "has the key 'x' twice in one object"}]


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX: y\r\n" * 2])
def test_a_head_without_an_end_is_cut_off(url: str, begin: bytes) -> None:
    place = urlsplit(url)
    part, sent = b"x" * 65536, 0
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(begin)
        with pytest.raises(ConnectionError):
            while sent < 64 * 1024**2:
                sent += connection.send(part)
    assert sent < 32 * 1024**2  # what lay in the sockets' buffers
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_there_are_many() -> None:
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) >= 60
