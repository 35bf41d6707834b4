"""The guard on real sockets: what it looks at is what it connects to."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer.guard import Guard

LOOPBACK = Guard(local_networks=("127.0.0.0/8",))


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class NameServer:
    """Answers each question with the next of its answers, and the last one from then on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self._really = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)

    def resolve(self, host: str, port: int, *more: Any) -> list[Any]:
        if not host[-1].isalpha():
            return self._really(host, port, *more)
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [found for one in addresses for found in self._really(one, port, *more)]


def connect(guard: Guard, host: str, port: int) -> str:
    with guard.connect(f"http://{host}/x", host, port, 2) as connection:
        return str(connection.getpeername()[0])


def test_an_allowed_name_is_asked_for_once_and_connected(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    names = NameServer(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    assert connect(LOOPBACK, "data.example.org", port) == "127.0.0.1"
    assert names.asked == ["data.example.org"]


def test_a_name_server_that_changes_its_mind_gains_nothing(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    """Rebinding: the first answer would pass, the second leads to a service of this machine."""
    names = NameServer(monkeypatch, ["192.0.2.1"], ["127.0.0.1"])
    dialed: list[Any] = []

    def dial(_: socket.socket, address: Any) -> None:
        dialed.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", dial)
    with pytest.raises(ConnectionRefusedError):
        connect(Guard(), "rebind.example.org", port)
    assert (names.asked, dialed) == (["rebind.example.org"], [("192.0.2.1", port)])
    with pytest.raises(StagingError, match=r"127\.0\.0\.1 is a loopback address"):
        connect(Guard(), "rebind.example.org", port)
    assert len(dialed) == 1


def test_addresses_that_are_denied_are_passed_over(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    NameServer(monkeypatch, ["169.254.169.254", "::1", "127.0.0.1"])
    assert connect(LOOPBACK, "mixed.example.org", port) == "127.0.0.1"


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254", "::1"], ["0.0.0.0"], ["fe80::1"]]
)
def test_a_name_that_leads_to_what_is_denied(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    NameServer(monkeypatch, addresses)
    with pytest.raises(StagingError) as caught:
        connect(Guard(), "name.example.org", 80)
    assert str(caught.value).startswith("http://name.example.org/x: ")
    assert "transfers.local_networks" in str(caught.value)


@pytest.mark.parametrize(
    "spelling", ["127.1", "2130706433", "0x7f.1", "%3127.0.0.1", "①27.0.0.1", "localhost."]
)
def test_spellings_that_the_resolver_takes(spelling: str, port: int) -> None:
    with pytest.raises(StagingError, match="loopback"):
        connect(Guard(), spelling, port)
    assert connect(LOOPBACK, spelling, port) == "127.0.0.1"


def test_only_the_place_that_the_operator_named_is_trusted(port: int) -> None:
    guard = Guard(allow_hosts=("*.example.org",), trusted=(f"127.0.0.1:{port}",))
    guard.require("http://x/", "http", "127.0.0.1", port)
    assert connect(guard, "127.0.0.1", port) == "127.0.0.1"
    with pytest.raises(StagingError, match="allow_hosts"):
        guard.require("http://x/", "http", "127.0.0.1", port + 1)
    with pytest.raises(StagingError, match="loopback"):
        guard.connect("http://x/", "127.0.0.1", port + 1, 2)


def test_the_error_hides_what_the_url_carries() -> None:
    with pytest.raises(StagingError) as caught:
        Guard().require("http://me:hush@127.0.0.1/x?token=hush", "http", "127.0.0.1", 80)
    assert "hush" not in str(caught.value) and str(caught.value).startswith("http://127.0.0.1/x: ")
