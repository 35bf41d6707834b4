"""The reporter: all news arrives once, whatever the server does meanwhile, and no work waits for it."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tesp_api.worker import report
from tesp_api.worker.job import JobDirectory, replace_file
from tesp_api.worker.order import Reach, Site
from tesp_api.worker.report import Reporter
from tests.services.tesp import poll

CHUNK_BYTES = 1000


class Server:
    """The channel's end: puts files together as the API does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.reports = 0
        self.status = 200
        self.cancel = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.reports += 1
                answer = outer.take(body["files"]) if outer.status == 200 else {"detail": "no"}
                data = json.dumps(answer).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def take(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        again = []
        for part in parts:
            before = self.files.get(part["name"], b"")
            if part["offset"] > len(before):
                again.append(part["name"])
            else:
                self.files[part["name"]] = before[: part["offset"]] + base64.b64decode(part["data"])
        return {"cancel": self.cancel, "again": again}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


class Worker:
    """A job whose files the test writes."""

    def __init__(
        self, folder: Path, server: Server, *, carries: bool = True, log_max_bytes: int = 1024**2
    ) -> None:
        self.job = JobDirectory(str(folder))
        Path(self.job.logs).mkdir(parents=True)
        reach = Reach(f"http://127.0.0.1:{server.http.server_address[1]}", None, "token")
        site = Site(log_chunk_bytes=CHUNK_BYTES, log_max_bytes=log_max_bytes, heartbeat_s=0.5, home=carries)
        self.reporter = Reporter(reach, self.job, site)
        self.log = b""

    def write(self, log: bytes, *, ended: bool = False) -> None:
        self.log += log
        for start in range(0, len(self.log), CHUNK_BYTES):
            chunk = Path(self.job.logs) / f"0.stdout.{start // CHUNK_BYTES:06d}"
            chunk.write_bytes(self.log[start : start + CHUNK_BYTES])
        with open(self.job.events, "ab") as events:
            events.write(b"{}\n")
        beat = {"logs": {"0.stdout": len(self.log)}, "ended": ended}
        replace_file(self.job.heartbeat, json.dumps(beat).encode())
        self.reporter.ring()

    def is_known_to(self, server: Server) -> bool:
        chunks = sorted(name for name in server.files if name.startswith("logs/"))
        whole = b"".join(server.files[name] for name in chunks)
        beat = Path(self.job.heartbeat).read_bytes()
        events = Path(self.job.events).read_bytes()
        found = (whole, server.files.get("heartbeat"), server.files.get("events.ndjson"))
        return found == (self.log, beat, events)


def test_all_news_arrives_part_by_part(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PART_BYTES", 700)
    worker = Worker(tmp_path, server)
    worker.reporter.start()
    for log in (b"a" * 10, b"b" * 990, b"c" * 3500):
        worker.write(log)
        poll(lambda: worker.is_known_to(server), timeout_s=10, why=f"not all arrived: {server.files}")
    Path(worker.job.result).write_bytes(b"{}")
    worker.write(b"end", ended=True)
    worker.reporter.finish()
    assert worker.is_known_to(server) and server.files["result.json"] == b"{}"


def test_of_a_long_log_only_what_is_kept_is_sent(tmp_path: Path, server: Server) -> None:
    worker = Worker(tmp_path, server, log_max_bytes=4 * CHUNK_BYTES)
    worker.write(b"x" * 10 * CHUNK_BYTES, ended=True)
    worker.reporter.start()
    worker.reporter.finish()
    sent = sorted(int(name[-6:]) for name in server.files if name.startswith("logs/"))
    assert sent == [0, 1, 8, 9]


def test_a_server_that_was_away_or_forgot_gets_all_of_it(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PAUSE_MIN_S", 0.05)
    worker = Worker(tmp_path, server)
    server.status = 503
    worker.reporter.start()
    worker.write(b"first")
    poll(lambda: server.reports >= 2, timeout_s=10, why="it does not try again")
    server.status = 200
    poll(lambda: worker.is_known_to(server), timeout_s=10, why="what was refused is lost")
    server.files.clear()
    worker.write(b"second")
    poll(lambda: worker.is_known_to(server), timeout_s=10, why="what the server lost is not sent again")


def test_a_cancel_comes_with_the_answer(tmp_path: Path, server: Server) -> None:
    worker = Worker(tmp_path, server, carries=False)
    worker.reporter.start()
    poll(lambda: server.reports, timeout_s=10, why="a worker that is silent does not report")
    assert not Path(worker.job.cancel).exists()
    server.cancel = True
    poll(Path(worker.job.cancel).exists, timeout_s=10, why="the cancel did not arrive")
    assert server.files == {}, "whose files can be read sends none"


def test_it_ends_when_nobody_waits_for_it(tmp_path: Path, server: Server) -> None:
    server.status = 410
    worker = Worker(tmp_path, server)
    worker.reporter.start()
    worker.write(b"x")
    poll(lambda: server.reports, timeout_s=10, why="it does not report")
    began_at = time.monotonic()
    worker.reporter.finish()
    assert time.monotonic() - began_at < 2
    assert server.reports == 1
