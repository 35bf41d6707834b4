"""How fast tasks move files, beside the programs that people would use by hand.

`python -m bench.staging [--json] [--bytes 2147483648] [--files 5000] [--rounds 3]
[--folder DIR]`
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from bench.object_store import object_store, processor_s
from bench.report import print_report
from tests.services.nginx import Nginx
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

FILE_BYTES = 4096
LATENCY_S = 0.005
IMAGE = "busybox:latest"


class Spent(NamedTuple):
    """What one transfer took; of a task, the processor time is that of its worker."""

    seconds: float
    processor_s: float


def main() -> None:
    """Measure large files, then many small ones."""
    options = _options()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="tesp-bench-", dir=options.folder) as folder:
        ratios = _large(Path(folder), options, figures)
        for latency_s in (LATENCY_S, 0.0):
            ratios |= _small(Path(folder), options, latency_s, figures)
    print_report("staging", figures, ratios)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--bytes", type=int, default=2 * 1024**3, help="of the large file")
    parser.add_argument("--files", type=int, default=5000, help="how many small ones")
    parser.add_argument("--rounds", type=int, default=3, help="after one that warms up")
    parser.add_argument("--folder", type=Path, help="where files are made (five times the large one)")
    return parser.parse_args()


# -- one large file


def _large(folder: Path, options: argparse.Namespace, figures: dict[str, float]) -> dict[str, float]:
    size_bytes: int = options.bytes
    large, here = folder / "large", folder / "by-hand"
    _make_file(large, size_bytes)
    objects = folder / "store"
    objects.mkdir()
    with Nginx() as web, object_store(objects) as store, _server(store.url) as server:
        shutil.copy(large, web.root / "large")
        subprocess.run(["curl", "-sfT", large, f"{store.url}/lab/large"], check=True)
        before_mb = _rss_mb(server)
        contests: dict[str, tuple[Callable[[], Spent], Callable[[], Spent]]] = {
            "http_in": (
                lambda: _task_in(server, web.url("large"), figures),
                lambda: _time(f"curl -sf {web.url('large')} | tee {here} | sha256sum"),
            ),
            "http_out": (
                lambda: _task_out(server, web.url("task"), size_bytes, figures),
                lambda: _time(f"cat {large} | tee >(sha256sum) | curl -sfT - {web.url('curl')}"),
            ),
            "s3_in": (
                lambda: _task_in(server, "s3://lab/large", figures),
                lambda: _boto3(
                    store.url, lambda s3: s3.download_file("lab", "large", str(here), Config=_AT_ONCE)
                ),
            ),
            "s3_out": (
                lambda: _task_out(server, "s3://lab/sink/task", size_bytes, figures),
                lambda: _boto3(
                    store.url, lambda s3: s3.upload_file(str(large), "lab", "sink/boto3", Config=_AT_ONCE)
                ),
            ),
        }
        ratios, ceilings = {}, {}
        for name, (task, by_hand) in contests.items():
            before_s = store.processor_s()
            ours, theirs = _take_turns(task, by_hand, options.rounds)
            ours_s, theirs_s = ours.seconds, theirs.seconds
            for label, spent in ((name, ours), (f"{name}_by_hand", theirs)):
                figures[f"{label}_mb_per_s"] = size_bytes / 1e6 / spent.seconds
                figures[f"{label}_processor_s"] = spent.processor_s
            ratios[f"{name}_over_by_hand"] = round(theirs_s / ours_s, 3)
            if name.startswith("s3"):
                used_s = max(store.processor_s() - before_s, 0.01) / (2 * (options.rounds + 1))
                figures[f"{name}_ceiling_mb_per_s"] = size_bytes / 1e6 / used_s
                ceilings[name] = round(min(ours_s, theirs_s) / used_s, 2)
        figures["server_rss_growth_mb"] = _rss_mb(server) - before_mb
    return {
        **ratios,
        "http_over_curl": min(ratios["http_in_over_by_hand"], ratios["http_out_over_by_hand"]),
        "s3_over_boto3": min(ratios["s3_in_over_by_hand"], ratios["s3_out_over_by_hand"]),
        "s3_ceiling_over_figure": min(ceilings.values()),
    }


_AT_ONCE = TransferConfig()


def _boto3(url: str, transfer: Callable[[Any], object]) -> Spent:
    """What it takes of boto3's own transfer, without the checksums that it may leave out."""
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
    )
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # noqa: S106
        config=config,
    )
    return _measure(lambda: transfer(client))


def _task_in(server: TespServer, url: str, figures: dict[str, float]) -> Spent:
    log, used_s = _run(server, {"inputs": [{"url": url, "path": "/in/large"}]}, "true", figures)
    return Spent(_seconds(log["start_time"], log["logs"][0]["start_time"]), used_s)


def _task_out(server: TespServer, url: str, size_bytes: int, figures: dict[str, float]) -> Spent:
    command = f"head -c {size_bytes} /dev/zero > /out/large"
    log, used_s = _run(server, {"outputs": [{"url": url, "path": "/out/large"}]}, command, figures)
    return Spent(_seconds(log["logs"][0]["end_time"], log["end_time"]), used_s)


def _run(
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


# -- many small files


def _small(
    folder: Path, options: argparse.Namespace, latency_s: float, figures: dict[str, float]
) -> dict[str, float]:
    """A directory of small files from a store that waits `latency_s` before each answer."""
    count: int = options.files
    label = f"{1000 * latency_s:g}ms"
    ratios = {}
    with (
        tempfile.TemporaryDirectory(dir=folder) as objects,
        object_store(Path(objects), latency_s=latency_s) as store,
        _server(store.url) as server,
    ):
        url = store.url
        _fill(folder, url, count)
        wanted = folder / "wanted"
        places = (f'url = "{url}/lab/small/{n}"\noutput = "{folder}/small/{n}"\n' for n in range(count))
        wanted.write_text("".join(places))
        by_hand = f"curl -sf --create-dirs -K {wanted} && cat {folder}/small/* | sha256sum"
        for name, source in (("http", f"{url}/lab/small/"), ("s3", "s3://lab/small")):
            task = partial(_task_tree, server, source, count, figures)
            ours, theirs = _take_turns(task, partial(_time, by_hand), options.rounds)
            ours_s, theirs_s = ours.seconds, theirs.seconds
            figures[f"small_{name}_{label}_s"], figures[f"small_curl_{label}_s"] = ours_s, theirs_s
            ratios[f"small_{name}_over_curl_{label}"] = round(theirs_s / ours_s, 3)
    return ratios


def _fill(folder: Path, url: str, count: int) -> None:
    source = folder / "small-file"
    source.write_bytes(os.urandom(FILE_BYTES))
    everything = folder / "everything"
    uploads = (f'url = "{url}/lab/small/{n}"\nupload-file = "{source}"\n' for n in range(count))
    everything.write_text("".join(uploads))
    subprocess.run(["curl", "-sf", "--no-progress-meter", "--parallel", "-K", everything], check=True)


def _task_tree(server: TespServer, url: str, count: int, figures: dict[str, float]) -> Spent:
    files = {"inputs": [{"url": url, "path": "/in", "type": "DIRECTORY"}]}
    log, used_s = _run(server, files, f'test "$(ls /in | wc -l)" = {count}', figures)
    return Spent(_seconds(log["start_time"], log["logs"][0]["start_time"]), used_s)


# -- small parts


@contextmanager
def _server(s3_url: str) -> Iterator[TespServer]:
    credentials = {
        "URL_PREFIX": "s3://lab/",
        "ENDPOINT": s3_url,
        "ACCESS_KEY_ID": "bench",
        "SECRET_ACCESS_KEY": "bench",
    }
    environment = {f"TESP_API_CREDENTIALS__LAB__{name}": value for name, value in credentials.items()}
    with TespServer(ONLY_BUBBLEWRAP | environment) as server:
        yield server


def _take_turns(one: Callable[[], Spent], other: Callable[[], Spent], rounds: int) -> tuple[Spent, Spent]:
    """The medians of each, after a round that warms up."""
    taken = [(one(), other()) for _ in range(rounds + 1)][1:]
    medians = [Spent(*map(statistics.median, zip(*each, strict=True))) for each in zip(*taken, strict=True)]
    return medians[0], medians[1]


def _time(command: str) -> Spent:
    return _measure(
        lambda: subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], check=True, stdout=subprocess.DEVNULL
        )
    )


def _measure(transfer: Callable[[], object]) -> Spent:
    """What is done in this process, or by processes that have ended when `transfer` returns."""
    began, before = time.perf_counter(), sum(os.times()[:4])
    transfer()
    return Spent(time.perf_counter() - began, sum(os.times()[:4]) - before)


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _rss_mb(server: TespServer) -> float:
    assert server.process is not None
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))


def _make_file(path: Path, size_bytes: int) -> None:
    noise = os.urandom(1024**2)
    with path.open("wb") as file:
        for begin in range(0, size_bytes, len(noise)):
            file.write(noise[: size_bytes - begin])


if __name__ == "__main__":
    main()
