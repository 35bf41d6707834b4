"""What a transfer takes: one that a task makes, and one that is made by hand."""

import contextlib
import json
import os
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.object_store import processor_s
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

IMAGE = "busybox:latest"


class Spent(NamedTuple):
    """What one transfer took; of a task, the processor time is that of its worker."""

    seconds: float
    processor_s: float


@contextmanager
def server_with(s3_url: str) -> Iterator[TespServer]:
    credentials = {
        "URL_PREFIX": "s3://lab/",
        "ENDPOINT": s3_url,
        "ACCESS_KEY_ID": "bench",
        "SECRET_ACCESS_KEY": "bench",
    }
    environment = {f"TESP_API_CREDENTIALS__LAB__{name}": value for name, value in credentials.items()}
    with TespServer(ONLY_BUBBLEWRAP | environment) as server:
        yield server


def take_turns(rounds: int, *sides: Callable[[], Spent]) -> list[Spent]:
    """The medians of each, after a round that warms up."""
    taken = [[side() for side in sides] for _ in range(rounds + 1)][1:]
    return [Spent(*map(statistics.median, zip(*each, strict=True))) for each in zip(*taken, strict=True)]


def time_command(command: str) -> Spent:
    return measure(
        lambda: subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], check=True, stdout=subprocess.DEVNULL
        )
    )


def measure(transfer: Callable[[], object]) -> Spent:
    """What is done in this process, or by processes that have ended when `transfer` returns."""
    began, before = time.perf_counter(), sum(os.times()[:4])
    transfer()
    return Spent(time.perf_counter() - began, sum(os.times()[:4]) - before)


def run_task(
    server: TespServer, files: dict[str, Any], command: str, figures: dict[str, float]
) -> tuple[dict[str, Any], float]:
    """Run a task and watch its worker; the task's log, and the worker's processor time."""
    task_id = server.create({"executors": [{"image": IMAGE, "command": ["sh", "-c", command]}], **files})
    over = threading.Event()
    seen: dict[str, float] = defaultdict(float)
    watching = threading.Thread(target=_watch_worker, args=(server, task_id, over, seen))
    watching.start()
    try:
        task = server.wait(task_id, timeout_s=600)
    finally:
        over.set()
        watching.join()
    assert task["state"] == "COMPLETE", task["logs"]
    figures["worker_rss_mb"] = max(figures.get("worker_rss_mb", 0.0), seen["peak_mb"])
    log: dict[str, Any] = task["logs"][0]
    return log, seen["processor_s"]


def _watch_worker(server: TespServer, task_id: str, over: threading.Event, seen: dict[str, float]) -> None:
    """Note a worker's most memory and its processor time so far, until the task is over."""
    started = server.data / "pulsar" / "staging" / f"{task_id}-1" / "metadata" / "tesp" / "started"
    pid = 0
    while not over.wait(0.02):
        with contextlib.suppress(OSError, ValueError, StopIteration):  # it has not begun, or has ended
            pid = pid or json.loads(started.read_text())["pid"]
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
            seen["peak_mb"] = peak_kb * 1024 / 1e6
            seen["processor_s"] = processor_s(pid)
