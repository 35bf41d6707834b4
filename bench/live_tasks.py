"""Many live tasks at a Pulsar that only asking tells about: what the API's answers and its memory suffer."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.api import p99
from bench.http_client import Connection, get_request, post_request
from bench.stub_pulsar import RunningStub, stub_pulsar
from tests.services.tesp import TespServer

LATENCY_S = 0.05
POLL_MAX_S = 30.0
_TES, _BULK = "/ga4gh/tes/v1/tasks", "/tesp/v1/tasks:bulk"
_BULK_TASKS = 1000
_PAGE = 2047
_BETWEEN_GETS_S = 0.005
_PATIENCE_S = 900.0
_DOCUMENT = {"executors": [{"image": "busybox:latest", "command": ["sleep", "600"]}]}


def measure_live_tasks(count: int, watch_s: float, figures: dict[str, float]) -> dict[str, float]:
    """With one task, then with so many that are watched for a while, then as half of them end."""
    with stub_pulsar(LATENCY_S) as stub, TespServer(_settings(stub, count)) as server:
        task_id = server.create(_DOCUMENT)
        server.wait(task_id, states={"RUNNING"})
        watch = _Watch(server, task_id)
        figures["idle_get_p99_ms"] = 1000 * watch.p99_for(min(watch_s, 20.0))
        figures["live_tasks"] = count
        figures["live_launch_s"], figures["launch_get_p99_ms"] = _launch(watch, count)
        figures["live_get_p99_ms"] = 1000 * watch.p99_for(watch_s)
        figures["live_most_looks_per_30s"] = stub.most_looks()
        figures["live_states_right_s"] = _end_half(watch, stub, count)
        figures["live_rss_mb"] = watch.rss_mb()
    return {
        "live_get_p99_over_idle": round(figures["live_get_p99_ms"] / figures["idle_get_p99_ms"], 3),
        "live_states_right_over_poll": round(figures["live_states_right_s"] / POLL_MAX_S, 3),
    }


def _settings(stub: RunningStub, count: int) -> Mapping[str, str]:
    prefix = "TESP_API_DESTINATIONS__LOCAL__"
    return {
        f"{prefix}KIND": "rest",
        f"{prefix}URL": stub.url,
        f"{prefix}MAX_RUNNING": str(count),
        "TESP_API_SCHEDULER__POLL_MAX_S": str(POLL_MAX_S),
    }


class _Watch:
    """Asks for one task's state now and then, and notes how long the answers take."""

    def __init__(self, server: TespServer, task_id: str) -> None:
        self.server = server
        self._get = get_request(f"{_TES}/{task_id}")

    def p99_for(self, seconds: float) -> float:
        """Of so many seconds."""
        over = time.monotonic() + seconds
        return p99(self.times_until(lambda: time.monotonic() > over))

    def times_until(self, is_over: Callable[[], bool]) -> list[float]:
        """Of each answer, until something is so."""
        times: list[float] = []
        with closing(Connection(self.server.port)) as connection:
            while not is_over():
                times.append(connection.time(self._get))
                time.sleep(_BETWEEN_GETS_S)
        return times

    def ask(self, request: bytes) -> Any:
        """Anything else."""
        with closing(Connection(self.server.port)) as connection:
            return json.loads(connection.ask(request))

    def ids_in(self, state: str) -> set[str]:
        """All tasks in a state."""
        ids: set[str] = set()
        token = ""
        while True:
            query = (("state", state), ("page_size", _PAGE), *((("page_token", token),) if token else ()))
            page = self.ask(get_request(_TES, *query))
            ids |= {task["id"] for task in page["tasks"]}
            token = page.get("next_page_token", "")
            if not token:
                return ids

    def rss_mb(self) -> float:
        """The most memory that the server has had."""
        assert self.server.process is not None
        lines = Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def _launch(watch: _Watch, count: int) -> tuple[float, float]:
    """The seconds until all run, and the p99 in ms meanwhile."""
    began = time.monotonic()
    for first in range(1, count, _BULK_TASKS):
        tasks = [_DOCUMENT] * min(_BULK_TASKS, count - first)
        watch.ask(post_request(_BULK, json.dumps({"tasks": tasks}).encode()))
    times: list[float] = []
    while len(watch.ids_in("RUNNING")) < count:
        if time.monotonic() - began > _PATIENCE_S:
            raise SystemExit(
                f"{count} tasks are not RUNNING after {_PATIENCE_S:g} s:\n{watch.server.log[-2000:]}"
            )
        pause_over = time.monotonic() + 1.0
        times += watch.times_until(lambda over=pause_over: time.monotonic() > over)  # type: ignore[misc]
    return time.monotonic() - began, 1000 * p99(times or [0.0])


def _end_half(watch: _Watch, stub: RunningStub, count: int) -> float:
    """The seconds until the states of all tasks are what they are at the site."""
    ended = set(stub.end(count // 2))
    began = time.monotonic()
    while watch.ids_in("COMPLETE") != ended or len(watch.ids_in("RUNNING")) != count - len(ended):
        if time.monotonic() - began > 10 * POLL_MAX_S:
            raise SystemExit(f"the states of {count} tasks are still wrong:\n{watch.server.log[-2000:]}")
        time.sleep(0.2)
    return time.monotonic() - began
