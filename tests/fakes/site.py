"""Plays a worker on a `FakePulsar`: writes the files that a real one writes, at the test's word."""

import hashlib
import json
from typing import Any

from tests.fakes.pulsar import FakePulsar

AT = "2026-01-01T00:00:00.000000+00:00"


class FakeWorker:
    """The worker of one job that has been launched."""

    def __init__(self, pulsar: FakePulsar, job_id: str) -> None:
        self.pulsar, self.job_id = pulsar, job_id
        self._events: list[dict[str, Any]] = []
        self._logs: dict[str, int] = {}
        self._executors: list[dict[str, Any]] = []
        self._beat = 0
        self._events_bytes = 0

    def start(self) -> None:
        self.pulsar.put(self.job_id, "started", b'{"pid": 1}')
        self.event("initializing")

    def event(self, event: str, **more: Any) -> None:
        self._events.append({"seq": len(self._events), "at": AT, "event": event, **more})
        lines = "".join(json.dumps(line) + "\n" for line in self._events)
        self._events_bytes = len(lines.encode())
        self.pulsar.put(self.job_id, "events.ndjson", lines.encode())
        self.beat()

    def write_log(self, name: str, data: bytes, *, chunk_bytes: int) -> None:
        """All that the stream `name` ("0.stdout") holds so far."""
        for start in range(0, len(data), chunk_bytes):
            chunk = f"logs/{name}.{start // chunk_bytes:06d}"
            self.pulsar.put(self.job_id, chunk, data[start : start + chunk_bytes])
        self._logs[name] = len(data)
        self.beat()

    def run_executor(self, exit_code: int = 0) -> None:
        index = len(self._executors)
        self.event("executor_started", executor=index)
        ended = {"exit_code": exit_code, "started_at": AT, "ended_at": AT}
        self._executors.append(ended)
        self.event("executor_ended", executor=index, **ended)

    def beat(self, *, ended: bool = False) -> None:
        self._beat += 1
        heartbeat = {
            "beat": self._beat,
            "events_bytes": self._events_bytes,
            "logs": self._logs,
            "ended": ended,
        }
        self.pulsar.put(self.job_id, "heartbeat", json.dumps(heartbeat).encode())

    def leave(self, number: int, data: bytes) -> dict[str, Any]:
        """Put a file where a gateway fetches it; what the result says of it, less the output it is of."""
        name = f"{number:06d}"
        self.pulsar.put(self.job_id, f"out/{name}", data)
        return {"file": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def finish(self, state: str = "COMPLETE", reason: str = "", *, beat: bool = True, **more: Any) -> None:
        """Leave the result, with `more` in it; without `beat`, die before the last heartbeat."""
        if "started" not in self.pulsar.jobs[self.job_id].files:
            self.pulsar.put(self.job_id, "started", b'{"pid": 1}')
        sizes = {f"{stream}_bytes": self._logs.get(f"0.{stream}", 0) for stream in ("stdout", "stderr")}
        result = {
            "version": 1,
            "state": state,
            "reason": reason or f"ended {state}",
            "started_at": AT,
            "ended_at": AT,
            "executors": [{**executor, **sizes} for executor in self._executors],
            "outputs": [],
            "system_logs": [],
            "metadata": {},
            **more,
        }
        self.pulsar.put(self.job_id, "result.json", json.dumps(result).encode())
        if beat:
            self.beat(ended=True)
        self.pulsar.end(self.job_id)
