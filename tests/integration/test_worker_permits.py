"""The worker's permits: what it does until it is let to go on, and what it leaves alone when it is not."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker_job import WorkerJob, shell, wait_until
from tests.services.file_server import FileServer
from tests.services.tesp import free_port

pytestmark = pytest.mark.services


class Server:
    """Answers what workers ask: by the first of `answers` for a step, the last of them again and again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.answers: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.asked: list[dict[str, str]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                answers = server.answers.get(body["step"], [(200, {"cancel": False})])
                status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            http.shutdown()
            http.server_close()

    @property
    def steps(self) -> list[str]:
        return [body["step"] for body in self.asked]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def web() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


GONE = (410, {"detail": "attempt 1 of the task was given up"})


def make(folder: Path, server: Server, web: FileServer, script: str = "echo done > /out") -> WorkerJob:
    """A task that leaves a mark when it runs, and sends an output."""
    roots = [{"path": str(folder), "mount": "rw"}]
    return WorkerJob(
        folder / f"job-{time.time_ns()}",
        "bubblewrap",
        roots,
        inputs=[{"path": "/shared", "url": f"file://{folder}", "type": "DIRECTORY"}],
        outputs=[{"path": "/out", "url": f"{web.url}/out"}],
        executors=[shell(f"echo ran >> /shared/marks; {script}")],
        permits={"url": server.url, "ca_pem": None, "token": "t"},
    )


def marks(folder: Path) -> str:
    file = folder / "marks"
    return file.read_text() if file.exists() else ""


def test_it_asks_before_it_runs_and_before_it_sends(tmp_path: Path, server: Server, web: FileServer) -> None:
    job = make(tmp_path, server, web)
    with server.running():
        result = job.run()
    assert (result["state"], marks(tmp_path), web.files["/out"]) == ("COMPLETE", "ran\n", b"done\n")
    assert server.steps == ["start", "commit"]
    started = json.loads((job.metadata / "started").read_text())
    assert {body["worker"] for body in server.asked} == {started["worker"]} == {result["worker"]}
    other = make(tmp_path, server, web)
    with server.running():
        assert other.run()["worker"] != result["worker"]


def test_without_outputs_nothing_is_to_be_committed(tmp_path: Path, server: Server) -> None:
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        executors=[shell("true")],
        permits={"url": server.url, "ca_pem": None, "token": "t"},
    )
    with server.running():
        assert job.run()["state"] == "COMPLETE"
    assert server.steps == ["start"]


def test_what_is_not_let_to_start_leaves_everything_alone(
    tmp_path: Path, server: Server, web: FileServer
) -> None:
    job = make(tmp_path, server, web)
    server.answers["start"] = [GONE]
    with server.running():
        result = job.run()
    assert (result["state"], result["cause"], result["begun"]) == ("SYSTEM_ERROR", "not_permitted", 0)
    assert "does not let this worker start" in result["reason"] and "given up" in result["reason"]
    assert (marks(tmp_path), web.files) == ("", {})
    assert not (job.directory / "tool_files" / "task.json").exists(), "nobody may be left who removes it"


@pytest.mark.parametrize("exit_code", [0, 3])
def test_what_is_not_let_to_commit_sends_nothing(
    tmp_path: Path, server: Server, web: FileServer, exit_code: int
) -> None:
    job = make(tmp_path, server, web, f"echo done > /out; exit {exit_code}")
    server.answers["commit"] = [GONE]
    with server.running():
        result = job.run()
    assert result["state"] == ("EXECUTOR_ERROR" if exit_code else "SYSTEM_ERROR")
    said = [result["reason"], *result["system_logs"]]
    assert any("does not let this worker commit" in line for line in said)
    assert (marks(tmp_path), web.files) == ("ran\n", {})


@pytest.mark.parametrize("step", ["start", "commit"])
def test_a_cancel_may_be_the_answer(tmp_path: Path, server: Server, web: FileServer, step: str) -> None:
    job = make(tmp_path, server, web)
    server.answers[step] = [(200, {"cancel": True})]
    with server.running():
        assert job.run()["state"] == "CANCELED"
    assert web.files == {}


def test_a_server_that_is_away_is_waited_for_while_the_heart_beats(
    tmp_path: Path, server: Server, web: FileServer
) -> None:
    job = make(tmp_path, server, web)
    process = job.start()
    wait_until(lambda: any("Waiting for the server" in event.get("text", "") for event in job.events()))
    assert marks(tmp_path) == ""
    with server.running():
        wait_until(lambda: "commit" in server.steps or "executor_started" in job.event_names())
        wait_until(lambda: process.poll() is not None)
    assert (job.result()["state"], marks(tmp_path)) == ("COMPLETE", "ran\n")


def test_outputs_wait_for_a_server_that_is_away(tmp_path: Path, server: Server, web: FileServer) -> None:
    gate = "while [ ! -e /shared/open ]; do sleep 0.05; done; echo done > /out"
    job = make(tmp_path, server, web, gate)
    with server.running():
        process = job.start()
        wait_until(lambda: marks(tmp_path) == "ran\n")
    (tmp_path / "open").touch()
    wait_until(lambda: any("Waiting for the server" in event.get("text", "") for event in job.events()))
    beat = job.heartbeat()["beat"]
    wait_until(lambda: job.heartbeat()["beat"] > beat)
    assert web.files == {}
    with server.running():
        wait_until(lambda: process.poll() is not None)
    result = job.result()
    assert (result["state"], web.files["/out"], marks(tmp_path)) == ("COMPLETE", b"done\n", "ran\n")
    assert sum("Waiting for the server" in line for line in result["system_logs"]) == 1


@pytest.mark.parametrize("ends", ["cancel", "SIGTERM", "removal"])
def test_waiting_for_the_server_ends_as_all_else(
    tmp_path: Path, server: Server, web: FileServer, ends: str
) -> None:
    gate = "while [ ! -e /shared/open ]; do sleep 0.05; done; echo done > /out"
    job = make(tmp_path, server, web, gate)
    with server.running():
        process = job.start()
        wait_until(lambda: marks(tmp_path) == "ran\n")
    (tmp_path / "open").touch()
    wait_until(lambda: any("Waiting for the server" in event.get("text", "") for event in job.events()))
    if ends == "cancel":
        job.cancel()
    elif ends == "SIGTERM":
        os.kill(process.pid, signal.SIGTERM)
    else:
        job.directory.rename(tmp_path / "gone")
    wait_until(lambda: process.poll() is not None)
    assert web.files == {}
    if ends != "removal":
        result = job.result()
        assert result["state"] == ("CANCELED" if ends == "cancel" else "SYSTEM_ERROR")
        assert result["cause"] == ("" if ends == "cancel" else "ended_by_site")
