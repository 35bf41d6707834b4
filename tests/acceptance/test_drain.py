"""SIGTERM: no new tasks, open requests end, running tasks go on at the site and are taken up again."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.acceptance.served import BIN, served
from tests.services.tesp import poll

pytestmark = pytest.mark.services

PATH = "/ga4gh/tes/v1/tasks"


def task(script: str, shared: Path) -> dict[str, object]:
    return {
        "inputs": [{"url": f"file://{shared}", "path": "/shared", "type": "DIRECTORY"}],
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
    }


def half_a_request(host: str, port: int, body: bytes) -> socket.socket:
    """A request for a new task of whose body the last byte is still to come."""
    connection = socket.create_connection((host, port), timeout=30)
    head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
    return connection


def is_complete(url: str) -> bool:
    return bool(httpx.get(url).json()["state"] == "COMPLETE")


def test_a_server_that_is_told_to_stop_ends_what_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    for name in ("TESP_API_SETTINGS", "FASTAPI_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "settings.toml").write_text(
        f"""[default.server]
drain_s = 20.0
[default.destinations.local]
runtimes = []
allow_bubblewrap = true
file_roots = [{{ path = "{shared}", mount = "rw" }}]
"""
    )
    script = "echo ran >> /shared/ran; while [ ! -e /shared/go_on ]; do sleep 0.1; done"
    body = json.dumps(task("true", shared)).encode()
    with subprocess.Popen(
        [BIN / "tesp", "serve", "--port", "0", "--data", tmp_path / "data"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
    ) as server:
        assert server.stdout
        try:
            url = server.stdout.readline().strip().rpartition(" ")[2]
            running = httpx.post(url + PATH, json=task(script, shared)).json()["id"]
            poll((shared / "ran").exists, timeout_s=60, why="the task does not run")
            with closing(half_a_request("127.0.0.1", httpx.URL(url).port or 0, body)) as begun:
                poll(lambda: httpx.get(url + "/healthz").status_code == 200, timeout_s=10, why="it is gone")
                server.send_signal(signal.SIGTERM)
                poll(
                    lambda: httpx.get(url + "/readyz").status_code == 503, timeout_s=10, why="it stays ready"
                )
                refused = httpx.post(url + PATH, content=body)
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
                assert "being stopped" in refused.json()["msg"]
                assert httpx.get(f"{url}{PATH}/{running}").json()["state"] == "RUNNING"
                begun.sendall(body[-1:])
                answer = begun.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 200 ")
            late = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]
            assert server.wait(timeout=15) == 0, "it waits although no request is open"
        finally:
            server.kill()
    (shared / "go_on").touch()
    with served(tmp_path) as url:
        for task_id in (running, late):
            ended = partial(is_complete, f"{url}{PATH}/{task_id}")
            poll(ended, timeout_s=60, why=f"task {task_id} does not end")
    assert (shared / "ran").read_text() == "ran\n"
