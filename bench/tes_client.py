"""Submits many tasks to a TES server and waits for their end, at little cost to the machine."""

import json
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import httpx

from bench.http_client import Connection, get_request, post_request

_LOOK_S = 0.1
_PATIENCE_S = 600.0
_BAD = (b"_ERROR", b"CANCEL", b"PREEMPTED")


class TesClient:
    """Of the server at a port of this machine, with TES below `prefix`. Each run has a new connection."""

    def __init__(self, port: int, prefix: str = "/ga4gh/tes/v1") -> None:
        self._port = port
        self._prefix = prefix
        self._runs = 0

    def run(self, document: Mapping[str, Any], count: int) -> float:
        """The seconds from the first request to the end of the last of so many tasks."""
        self._runs += 1
        tagged = {**document, "tags": {"bench-run": f"{time.time_ns()}-{self._runs}"}}
        request = post_request(f"{self._prefix}/tasks", json.dumps(tagged).encode())
        with closing(Connection(self._port)) as connection:
            began = time.perf_counter()
            for _ in range(count):
                connection.ask(request)
            self._wait(connection, tagged["tags"]["bench-run"], count, began)
            return time.perf_counter() - began

    def _wait(self, connection: Connection, run: str, count: int, began: float) -> None:
        """Until all tasks of a run are COMPLETE."""
        query = (("tag_key", "bench-run"), ("tag_value", run), ("page_size", "2047"), ("view", "MINIMAL"))
        look = get_request(f"{self._prefix}/tasks", *query)
        while (states := connection.ask(look)).count(b'"COMPLETE"') < count:
            if any(bad in states for bad in _BAD):
                raise SystemExit(f"tasks did not end COMPLETE: {states[:2000]!r}")
            if time.perf_counter() - began > _PATIENCE_S:
                raise SystemExit(f"{count} tasks take longer than {_PATIENCE_S:g} s")
            time.sleep(_LOOK_S)


def run_at_peer(url: str, document: Mapping[str, Any], count: int) -> float:
    """As `TesClient.run`, at any TES server: each task is asked for by its id, since not all have tags."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        began = time.perf_counter()
        waiting = [
            client.post(f"{url}/tasks", json=document).raise_for_status().json()["id"] for _ in range(count)
        ]
        while waiting:
            task_id = waiting[0]
            state = client.get(f"{url}/tasks/{task_id}").raise_for_status().json()["state"]
            if any(bad in state.encode() for bad in _BAD):
                raise SystemExit(f"task {task_id} of {url} ended {state}")
            if state == "COMPLETE":
                waiting.pop(0)
            elif time.perf_counter() - began > _PATIENCE_S:
                raise SystemExit(f"{count} tasks at {url} take longer than {_PATIENCE_S:g} s")
            else:
                time.sleep(_LOOK_S)
        return time.perf_counter() - began
