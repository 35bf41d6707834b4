"""Servers that never come to an end: very many directories, answers drop by drop. None holds a thread."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tesp_api.storage.stoppable import Stop, StoppableGuard
from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.errors import Canceled, StagingError
from tesp_api.worker.order import Patience
from tesp_api.worker.transfer import Site, close_connections, ftp, http, http_directory
from tesp_api.worker.transfer.guard import Guard
from tests.services.ftp_server import USERINFO, FtpServer

pytestmark = pytest.mark.services

LOCAL = ("127.0.0.0/8",)
HEAD = b"HTTP/1.1 200 OK\r\n"
DROPS: dict[str, tuple[bytes, bytes]] = {
    "head": (HEAD + b"X-Slow: ", b"x"),
    "body": (HEAD + b"Content-Length: 1000000000\r\n\r\n", b"x"),
    "size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


def site(**more: object) -> Site:
    patience = Patience(stall_s=0.5, tries=1, pause_s=0.01)
    values = {
        "guarding": lambda: Guard(local_networks=LOCAL),
        "cancellation": Cancellation("/dev/null/never"),
        **more,
    }
    return Site(**{"roots": (), "message": print, "patience": patience, **values})  # type: ignore[arg-type]


@contextlib.contextmanager
def dripping(first: bytes, drop: bytes, every_s: float = 0.02) -> Iterator[str]:
    """A server that answers with `first`, and then with drops for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(first)
            while not over.wait(every_s):
                connection.sendall(drop)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        over.set()
        listener.close()
        close_connections()


@pytest.mark.parametrize("kind", DROPS)
def test_a_server_that_sends_drop_by_drop_fails(tmp_path: Path, kind: str) -> None:
    began = time.monotonic()
    with dripping(*DROPS[kind]) as url, pytest.raises(StagingError, match=r"bytes came in|put off for"):
        http.fetch_file(url, str(tmp_path / "x"), site())
    assert time.monotonic() - began < 10


def test_a_server_that_makes_its_answer_as_it_sends_it_is_waited_for(tmp_path: Path) -> None:
    with dripping(HEAD + b"Content-Length: 20\r\n\r\n", b"0123456789", every_s=0.4) as url:
        assert http.fetch_file(url, str(tmp_path / "x"), site()).size_bytes == 20


@pytest.mark.parametrize("kind", [*DROPS, "silence"])
def test_a_stop_ends_the_thread_of_a_transfer(tmp_path: Path, kind: str) -> None:
    stop, ended = Stop(), threading.Event()
    guard = StoppableGuard(local_networks=LOCAL)
    guard.stop = stop
    patient = site(guarding=lambda: guard, cancellation=stop)._replace(patience=Patience(60.0, 5, 0.01))

    def fetch() -> None:
        with contextlib.suppress(Canceled, StagingError):
            http.fetch_file(url, str(tmp_path / "x"), patient)
        ended.set()

    with dripping(*DROPS.get(kind, (b"", b"")), every_s=0.2) as url:
        threading.Thread(target=fetch, daemon=True).start()
        assert not ended.wait(0.5), "it should have been waiting"
        stop.ask()
        assert ended.wait(5), "the thread is left behind"


class Bottomless(BaseHTTPRequestHandler):
    """Each directory has ten more, down to five levels: all that is allowed of depth, and too much of it."""

    def do_GET(self) -> None:
        links = [f'<a href="{name}/">{name}</a>' for name in range(10)] if self.path.count("/") < 6 else []
        body = f"<h1>Index of /</h1>{''.join(links)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_directories_without_end_and_files_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_directory, "MOST_FILES", 100)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bottomless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(StagingError, match="more than 100 files and directories"):
            http.fetch_directory(f"http://127.0.0.1:{server.server_port}/", str(tmp_path), site())
    finally:
        server.shutdown()
        server.server_close()
        close_connections()
    assert sum(1 for _ in tmp_path.rglob("*")) <= 100


def test_directories_over_ftp_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ftp, "MOST_ENTRIES", 20)
    for number in range(30):
        (tmp_path / "root" / "d" / str(number)).mkdir(parents=True)
    (tmp_path / "in").mkdir()
    with FtpServer(tmp_path / "root") as server:
        url = f"ftp://{USERINFO}@127.0.0.1:{server.port}/d"
        with pytest.raises(StagingError, match="more than 20 files and directories"):
            ftp.fetch_directory(url, str(tmp_path / "in"), site())
    assert len(list(itertools.islice((tmp_path / "in").iterdir(), 30))) == 20
