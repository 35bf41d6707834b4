"""Runs the real worker archive on a real task.json, as Pulsar would."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tesp_api.runner.worker_archive import build_worker_archive

PODMAN_ARGS = [
    "--runtime",
    "runc",
    "--network",
    "none",
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1000:1000",
]
PYTHON = os.environ.get("TESP_TEST_PYTHON", sys.executable)


def wait_until(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Poll until the condition holds; fails after the timeout."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s")


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"image": "busybox:latest", "command": ["/bin/sh", "-c", script], **more}


class WorkerJob:
    """A Pulsar job directory with the worker in it."""

    def __init__(
        self, directory: Path, runtime: str, roots: list[dict[str, str]] | None = None, **task: Any
    ) -> None:
        self.directory = directory
        self.job_id = directory.name
        self.metadata = directory / "metadata" / "tesp"
        for name in ("inputs", "tool_files", "metadata", "outputs", "working"):
            (directory / name).mkdir(parents=True)
        site = {
            "runtimes": [runtime],
            "runtime_args": {"podman": PODMAN_ARGS},
            "network": "none" if runtime != "podman" else "default",
            "file_roots": roots or [],
            "log_max_bytes": 1 << 20,
            "log_chunk_bytes": 1 << 16,
            "heartbeat_s": 2,
            "bell": None,
            "rules": {"local_networks": ["127.0.0.0/8", "::1/128"]},
            **task.pop("site", {}),
        }
        order = {"version": 1, "task_id": "t1", "attempt": 1, "job_id": self.job_id, "site": site, **task}
        (directory / "tool_files" / "task.json").write_text(json.dumps(order))
        (directory / "tool_files" / "tesp-worker.pyz").write_bytes(build_worker_archive())

    def command(self) -> list[str]:
        archive = str(self.directory / "tool_files" / "tesp-worker.pyz")
        return [PYTHON, "-I", "-S", archive, str(self.directory)]

    def start(self, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*prefix, *self.command()],
            cwd=self.directory / "working",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
        """Run to the end; returns result.json."""
        process = self.start(prefix)
        printed, _ = process.communicate(timeout=120)
        assert printed.decode() == ""
        assert process.returncode == 0
        assert not (self.directory / "task").exists(), "the task's files must not stay at the site"
        return self.result()

    def cancel(self) -> None:
        (self.metadata / "cancel").touch()

    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.metadata / "result.json").read_text())
        return result

    def heartbeat(self) -> dict[str, Any]:
        heartbeat: dict[str, Any] = json.loads((self.metadata / "heartbeat").read_text())
        return heartbeat

    def log(self, name: str) -> bytes:
        chunks = sorted((self.metadata / "logs").glob(f"{name}.*"))
        return b"".join(chunk.read_bytes() for chunk in chunks)

    def events(self) -> list[dict[str, Any]]:
        path = self.metadata / "events.ndjson"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def event_names(self) -> list[str]:
        return [event["event"] for event in self.events() if event["event"] != "message"]
