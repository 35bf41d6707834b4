"""The channel's HTTP by hand: every form of an answer, and that nothing costly is imported for it."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from tesp_api.worker.plain_http import PlainConnection, http_errors
from tesp_api.worker.transfer import close_connections
from tesp_api.worker.urls import http_origin


@contextmanager
def serving(*answers: bytes) -> Iterator[PlainConnection]:
    """A connection to a server that gives these answers, each to a connection of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                client, _ = listener.accept()
                with client:
                    client.recv(65536)
                    client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        connection = PlainConnection(http_origin(f"http://127.0.0.1:{listener.getsockname()[1]}"), 10.0)
        yield connection
        connection.close()
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", (200, b"ok")),
        (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", (410, b"")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nok\r\n1\r\n!\r\n0\r\n\r\n",
            (200, b"ok!"),
        ),
        (b"HTTP/1.0 502 Bad\r\n\r\nuntil the end", (502, b"until the end")),
    ],
)
def test_every_form_of_an_answer_is_understood(answer: bytes, expected: tuple[int, bytes]) -> None:
    with serving(answer) as connection:
        connection.request("POST", "/x", b"{}", {"Authorization": "Bearer t"})
        response = connection.getresponse()
        assert (response.status, response.read()) == expected


def test_a_server_that_ends_the_connection_is_connected_to_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    with serving(answer, answer) as connection:
        for _ in range(2):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ],
)
def test_what_is_no_answer_is_an_error_that_the_channel_expects(answer: bytes) -> None:
    with serving(answer) as connection:
        connection.request("GET", "/")
        with pytest.raises((OSError, ValueError)):
            connection.getresponse().read()


def test_a_report_needs_none_of_the_modules_that_take_long_to_import(tmp_path: Path) -> None:
    """Each takes longer than what is reported of; a proxy or TLS needs some of them."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.channel import Channel
from tesp_api.worker.order import Reach
import tesp_api.worker.report
channel = Channel(Reach("http://127.0.0.1:9", None, "t"), Cancellation("/never"), print)
assert channel.report({{"files": []}}) is None
print(*{{"http.client", "ssl", "email", "urllib.request"}} & set(sys.modules))
"""
    command = [sys.executable, "-I", "-S", "-c", script]
    run = subprocess.run(command, env={}, cwd=tmp_path, capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("", "")


@pytest.mark.parametrize("name", ["http.client", "tesp_api.worker.transfer.connection"])
def test_what_another_thread_is_importing_is_not_in_use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker imports what it will need while executors run, and may have to ask its server just then."""
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert http_errors()[:2] == (OSError, ValueError)
    close_connections()
