"""HTTP connections are used again when that is safe, and only then: at real servers that count them."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.channel import Channel
from tesp_api.worker.errors import StagingError
from tesp_api.worker.order import Reach
from tesp_api.worker.transfer.connection import IDLE, MOST_IDLE, Exchange
from tesp_api.worker.transfer.guard import Guard
from tesp_api.worker.transfer.lending import Ask
from tests.services.file_server import FileServer

GUARD = Guard(local_networks=("127.0.0.0/8",))


class CountingServer(FileServer):
    def __init__(self) -> None:
        super().__init__()
        self.accepted = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        self.accepted += 1
        return super().get_request()


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with CountingServer() as running:
        running.files = {f"/{n}": f"content of {n}".encode() for n in range(20)} | {
            "/large": bytes(3_000_000)
        }
        yield running
        IDLE.close()


def ask(method: str, url: str, body: tuple[bytes, ...] = (), guard: Guard = GUARD) -> tuple[int, bytes]:
    headers = {"Content-Length": str(sum(map(len, body)))} if method == "PUT" else {}
    with Exchange(method, url, headers, 5, body, guard=guard) as exchange:
        return exchange.response.status, exchange.response.read()


def test_requests_to_one_server_share_a_connection(server: CountingServer) -> None:
    for number in range(10):
        assert ask("GET", f"{server.url}/{number}") == (200, f"content of {number}".encode())
    assert ask("HEAD", f"{server.url}/1") == (200, b"")
    assert ask("PUT", f"{server.url}/new", (b"a", b"b"))[0] == 201
    assert server.files["/new"] == b"ab"
    server.is_chunked = True
    assert ask("GET", f"{server.url}/large") == (200, bytes(3_000_000))
    assert ask("GET", f"{server.url}/2") == (200, b"content of 2")
    assert server.accepted == 1


def test_a_connection_belongs_to_the_rules_by_which_it_was_made(server: CountingServer) -> None:
    other = Guard(local_networks=("127.0.0.1/32",))
    for guard in (GUARD, other, GUARD, other):
        assert ask("GET", f"{server.url}/1", guard=guard)[0] == 200
    assert server.accepted == 2


def test_threads_have_connections_of_their_own_and_leave_few(server: CountingServer) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(20):
            found = ask("GET", f"{server.url}/{number % 20}")
            if found != (200, f"content of {number % 20}".encode()):
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert server.accepted < 24 * 20 / 2
    assert len(IDLE._lines) <= MOST_IDLE


def test_an_answer_that_was_not_read_is_not_read_by_the_next(server: CountingServer) -> None:
    with Exchange("GET", f"{server.url}/large", {}, 5, guard=GUARD) as exchange:
        assert exchange.response.read(10) == bytes(10)
    with Exchange("GET", f"{server.url}/1", {}, 5, guard=GUARD):
        pass
    assert ask("GET", f"{server.url}/2") == (200, b"content of 2")
    assert server.accepted == 3


def test_a_connection_that_the_server_gives_up_is_not_kept(server: CountingServer) -> None:
    server.more_headers = {"Connection": "close"}
    assert ask("GET", f"{server.url}/1")[0] == ask("GET", f"{server.url}/2")[0] == 200
    assert server.accepted == 2


def test_an_exchange_that_failed_is_not_continued(server: CountingServer) -> None:
    with (
        pytest.raises(ValueError, match="wrong"),
        Exchange("GET", f"{server.url}/1", {}, 5, guard=GUARD) as one,
    ):
        one.response.read()
        raise ValueError("wrong")
    assert ask("GET", f"{server.url}/1")[0] == 200
    assert server.accepted == 2


def test_closing_twice_does_not_take_the_connection_from_the_next(server: CountingServer) -> None:
    first = Exchange("GET", f"{server.url}/1", {}, 5, guard=GUARD)
    first.response.read()
    first.close()
    with Exchange("GET", f"{server.url}/2", {}, 5, guard=GUARD) as second:
        first.close()
        assert second.response.read() == b"content of 2"
    assert server.accepted == 1


class Script:
    """Serves each connection by the next list: bytes answer a request, None closes without an answer."""

    def __init__(self, *connections: list[bytes | None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x"
        self.requests = 0
        self.closed = threading.Event()
        threading.Thread(target=self._serve, args=(connections,), daemon=True).start()

    def _serve(self, connections: tuple[list[bytes | None], ...]) -> None:
        for answers in connections:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                for answer in answers:
                    if not self._takes_request(connection):
                        break
                    self.requests += 1
                    if answer is not None:
                        connection.sendall(answer)
            self.closed.set()

    def _takes_request(self, connection: socket.socket) -> bool:
        """False if the client has gone instead."""
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            if not part:
                return False
            received += part
        return True

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None:
        IDLE.close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the thread that waits for connections
        self._listener.close()


def answer(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), more, body)


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    with Script([answer(b"one")], [answer(b"two")]) as server:
        assert ask("GET", server.url) == (200, b"one")
        assert server.closed.wait(5)
        assert ask("PUT", server.url, (b"body",)) == (200, b"two")


def test_a_connection_that_dies_with_the_request_is_replaced_once() -> None:
    with Script([answer(b"one"), None], [answer(b"two"), None], [None]) as server:
        assert [ask("GET", server.url), ask("GET", server.url)] == [(200, b"one"), (200, b"two")]
        assert server.requests == 3
        with pytest.raises(ConnectionResetError):
            ask("GET", server.url)
        assert server.requests == 5


def test_a_body_that_is_partly_gone_is_not_sent_again() -> None:
    with Script([answer(b"one"), None], [answer(b"two")]) as server:
        assert ask("GET", server.url) == (200, b"one")
        with pytest.raises(ConnectionError):
            ask("PUT", server.url, (b"body",))
        assert server.requests == 2


def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    with Script([answer(b"one"), b"HTTP/1.1 200 OK\r\nContent-"], [answer(b"two")]) as server:
        assert ask("GET", server.url) == (200, b"one")
        with pytest.raises(Exception, match="ended in the headers"):
            ask("GET", server.url)


def test_what_follows_an_answer_is_nobodys_answer() -> None:
    with Script([answer(b"one") + answer(b"smuggled")], [answer(b"two")]) as server:
        assert ask("GET", server.url) == (200, b"one")
        assert ask("GET", server.url) == (200, b"two")


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"x"), 200, b"x"),
        (b"HTTP/1.0 200 OK\r\n\r\nall of it", 200, b"all of it"),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", 200, b"x"),
        (b"HTTP/1.1 204\r\n\r\n", 204, b""),
        (answer(b"x", b"Content-Length: 1\r\n"), 200, b"x"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n",
            200,
            b"abc",
        ),
    ],
)
def test_answers_of_all_kinds(said: bytes, status: int, body: bytes) -> None:
    with Script([said]) as server:
        assert ask("GET", server.url) == (status, body)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        answer(b"x", b"Content-Length: 2\r\n"),
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000,
    ],
)
def test_what_is_no_answer_is_an_error(said: bytes) -> None:
    from http.client import HTTPException

    with Script([said]) as server, pytest.raises((HTTPException, OSError)):
        ask("GET", server.url)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\r"])
def test_no_header_can_bring_another(server: CountingServer, value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        Exchange("GET", f"{server.url}/1", {"X-Token": value}, 5, guard=GUARD)
    assert server.accepted == 0


@pytest.mark.parametrize("scheme", ["transfer", "channel"])
def test_the_login_of_a_proxy_with_tls_is_not_sent_in_clear(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.2)
        monkeypatch.setenv("https_proxy", f"https://user:hush@127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(StagingError, match="must be an http:// one"):
            if scheme == "transfer":
                ask("GET", "https://files.example.org/x")
            else:
                Channel(Reach("https://tesp.example.org", None, "token"), Cancellation("/never"), print).sign(
                    [Ask("get", "s3://lab/x")]
                )
        with contextlib.suppress(TimeoutError):
            connection, _ = proxy.accept()
            assert connection.recv(1000) == b""
