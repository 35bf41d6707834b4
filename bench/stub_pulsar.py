"""A Pulsar that runs nothing: its REST API with a latency, and the files that workers would write.

`python -m bench.stub_pulsar PORT LATENCY_S`. A job's worker begins with its submission, beats as real ones
do, and ends when the benchmark says so. It is one process without threads, so that a small machine can have
ten thousand jobs, and counts how often it is asked for each of them.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import uvloop

from bench.http_client import Connection, get_request
from tests.services.tesp import free_port, poll

HEARTBEAT_S = 5.0
MINUTE_S = 60.0
WINDOW_S = 30.0


@dataclass(slots=True)
class Job:
    """What is known of a job; `looks` are the ages at which its status or its files were asked for."""

    began: float | None = None
    ended: float | None = None
    looks: list[float] = field(default_factory=list)

    def looked_at(self) -> None:
        """Note it, once the job runs and as long as it does."""
        if self.began is not None and self.ended is None:
            self.looks.append(time.monotonic() - self.began)

    def most_looks(self) -> int:
        """In any half minute, once it had run a minute."""
        windows: dict[int, int] = {}
        for age_s in self.looks:
            if age_s >= MINUTE_S:
                window = int((age_s - MINUTE_S) // WINDOW_S)
                windows[window] = windows.get(window, 0) + 1
        return max(windows.values(), default=0)


class StubPulsar:
    """The jobs, and what is answered."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def answer(self, method: str, target: str) -> tuple[int, bytes]:
        """The status and the body."""
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match [method, *url.path.strip("/").split("/")]:
            case ["GET", "healthz"]:
                return 200, b"{}"
            case ["POST", "jobs"]:
                self.jobs.setdefault(query["job_id"], Job())
                return 200, _json({"job_id": query["job_id"]})
            case ["POST", "jobs", _, "files"]:
                return 200, b"{}"
            case ["POST", "jobs", job_id, "submit"]:
                self.jobs[job_id].began = time.monotonic()
                return 200, b""
            case ["GET", "jobs", job_id, "status"]:
                return 200, _json(self._status(job_id))
            case ["GET", "jobs", job_id, "files"]:
                data = self._file(job_id, query["name"])
                return (500, b"no such file") if data is None else (200, data)
            case ["DELETE", "jobs", job_id]:
                self.jobs.pop(job_id, None)
                return 200, b""
            case ["GET", "stub", "end"]:
                return 200, _json(self._end(int(query["count"])))
            case ["GET", "stub", "looks"]:
                return 200, _json(max((job.most_looks() for job in self.jobs.values()), default=0))
        return 404, b""

    def _status(self, job_id: str) -> dict[str, str]:
        job = self.jobs.get(job_id)
        if job is None:
            return {"status": "lost", "complete": "true", "job_id": job_id}
        job.looked_at()
        if job.began is None:
            return {"status": "preprocessing", "complete": "false", "job_id": job_id}
        over = job.ended is not None
        return {"status": "complete" if over else "running", "complete": str(over).lower(), "job_id": job_id}

    def _file(self, job_id: str, name: str) -> bytes | None:
        job = self.jobs.get(job_id)
        if job is None or job.began is None:
            return None
        job.looked_at()
        events = _events(job)
        if name == "tesp/heartbeat":
            beat = int((time.monotonic() - job.began) / HEARTBEAT_S)
            is_over = job.ended is not None
            return _json({"beat": beat, "events_bytes": len(events), "logs": {}, "ended": is_over})
        if name == "tesp/events.ndjson":
            return events
        if name == "tesp/result.json" and job.ended is not None:
            return _result(job)
        return b"{}" if name == "tesp/started" else None

    def _end(self, count: int) -> list[str]:
        """End so many of those that run; the ids of their tasks."""
        running = [job_id for job_id, job in self.jobs.items() if job.began and job.ended is None][:count]
        for job_id in running:
            self.jobs[job_id].ended = time.monotonic()
        return [job_id.rpartition("-")[0] for job_id in running]


def _events(job: Job) -> bytes:
    assert job.began is not None
    events: list[dict[str, Any]] = [
        {"event": "initializing", "at": _at(job.began)},
        {"event": "executor_started", "executor": 0, "at": _at(job.began)},
    ]
    if job.ended is not None:
        events += [{"event": "executor_ended", **_executor(job)}, {"event": "ended", "state": "COMPLETE"}]
    lines = [{"seq": seq, "at": _at(job.began), **event} for seq, event in enumerate(events)]
    return b"".join(_json(line) + b"\n" for line in lines)


def _executor(job: Job) -> dict[str, Any]:
    assert job.began is not None and job.ended is not None
    return {"executor": 0, "exit_code": 0, "started_at": _at(job.began), "ended_at": _at(job.ended)}


def _result(job: Job) -> bytes:
    assert job.began is not None and job.ended is not None
    executor = {**_executor(job), "stdout_bytes": 0, "stderr_bytes": 0}
    return _json(
        {
            "version": 1,
            "state": "COMPLETE",
            "reason": "",
            "begun": 1,
            "started_at": _at(job.began),
            "ended_at": _at(job.ended),
            "executors": [executor],
        }
    )


def _at(monotonic: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=time.monotonic() - monotonic)).isoformat()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


class _Protocol(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pulsar: StubPulsar, latency_s: float) -> None:
        self._pulsar, self._latency_s = pulsar, latency_s
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = bytes(self._received[:end]).decode("latin-1").split("\r\n")
        lengths = [int(line[15:]) for line in lines if line.lower().startswith("content-length:")]
        if len(self._received) < end + 4 + sum(lengths):
            return
        self._received.clear()
        method, target, _ = first.split(" ")
        latency_s = 0.0 if target.startswith("/stub/") else self._latency_s
        asyncio.get_running_loop().call_later(latency_s, self._answer, method, target)

    def _answer(self, method: str, target: str) -> None:
        status, body = self._pulsar.answer(method, target)
        if self._transport.is_closing():
            return
        self._transport.write(b"HTTP/1.1 %d .\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)


async def _serve(port: int, latency_s: float) -> None:
    pulsar = StubPulsar()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(pulsar, latency_s), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


class RunningStub:
    """A stub in a process of its own, and what the benchmark says to it."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """What Pulsar's clients call it."""
        return f"http://127.0.0.1:{self.port}"

    def end(self, count: int) -> list[str]:
        """Let the workers of so many jobs end; the ids of the tasks."""
        return cast("list[str]", self._ask("/stub/end", count))

    def most_looks(self) -> int:
        """The most that any job was asked for in half a minute, once it had run a minute."""
        return cast(int, self._ask("/stub/looks", 0))

    def _ask(self, path: str, count: int) -> Any:
        connection = Connection(self.port)
        try:
            return json.loads(connection.ask(get_request(path, ("count", count))))
        finally:
            connection.close()


@contextmanager
def stub_pulsar(latency_s: float) -> Iterator[RunningStub]:
    """A stub that runs meanwhile."""
    stub = RunningStub(free_port())
    command = [sys.executable, "-m", "bench.stub_pulsar", str(stub.port), str(latency_s)]
    with subprocess.Popen(command) as process:
        try:
            poll(lambda: _answers(stub), timeout_s=60, why="the stub does not come up")
            yield stub
        finally:
            process.kill()


def _answers(stub: RunningStub) -> bool:
    try:
        return stub.most_looks() == 0
    except OSError:
        return False


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
