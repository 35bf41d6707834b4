"""How fast tasks move files, beside the programs that people would use by hand.

`python -m bench.staging [--json] [--bytes 2147483648] [--files 5000] [--rounds 3]
[--folder DIR]`
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from bench.object_store import object_store
from bench.report import print_report
from bench.transfers import Spent, measure, run_task, server_with, take_turns, time_command
from tests.services.nginx import Nginx
from tests.services.tesp import TespServer

FILE_BYTES = 4096
LATENCY_S = 0.005


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
    with Nginx() as web, object_store(objects) as store, server_with(store.url) as server:
        shutil.copy(large, web.root / "large")
        subprocess.run(["curl", "-sfT", large, f"{store.url}/lab/large"], check=True)
        before_mb = _rss_mb(server)
        contests: dict[str, tuple[Callable[[], Spent], Callable[[], Spent]]] = {
            "http_in": (
                lambda: _task_in(server, web.url("large"), figures),
                lambda: time_command(f"curl -sf {web.url('large')} | tee {here} | sha256sum"),
            ),
            "http_out": (
                lambda: _task_out(server, web.url("task"), size_bytes, figures),
                lambda: time_command(f"cat {large} | tee >(sha256sum) | curl -sfT - {web.url('curl')}"),
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
            ours, theirs = take_turns(options.rounds, task, by_hand)
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
        aws_secret_access_key="bench",  # noqa: S106 - moto takes any
        config=config,
    )
    return measure(lambda: transfer(client))


def _task_in(server: TespServer, url: str, figures: dict[str, float]) -> Spent:
    log, used_s = run_task(server, {"inputs": [{"url": url, "path": "/in/large"}]}, "true", figures)
    return Spent(_seconds(log["start_time"], log["logs"][0]["start_time"]), used_s)


def _task_out(server: TespServer, url: str, size_bytes: int, figures: dict[str, float]) -> Spent:
    command = f"head -c {size_bytes} /dev/zero > /out/large"
    log, used_s = run_task(server, {"outputs": [{"url": url, "path": "/out/large"}]}, command, figures)
    return Spent(_seconds(log["logs"][0]["end_time"], log["end_time"]), used_s)


# -- many small files


def _small(
    folder: Path, options: argparse.Namespace, latency_s: float, figures: dict[str, float]
) -> dict[str, float]:
    """A directory of small files from and to a store that waits `latency_s` before each answer."""
    count: int = options.files
    ratios = {}
    with (
        tempfile.TemporaryDirectory(dir=folder) as objects,
        object_store(Path(objects), latency_s=latency_s) as store,
        server_with(store.url) as server,
    ):
        url = store.url
        _fill(folder, url, count)
        curl_in = _curl(folder, "wanted", f"{url}/lab/small", "output", count)
        curl_out = _curl(folder, "sent", f"{url}/lab/sink/curl", "upload-file", count)
        places = {"http": f"{url}/lab/", "s3": "s3://lab/"}
        for way, transfer, there, curl in (
            ("", _task_tree_in, "small/", curl_in),
            ("_out", _task_tree_out, "sink/task/", curl_out),
        ):
            tasks = [partial(transfer, server, place + there, count, figures) for place in places.values()]
            *ours, by_hand = take_turns(options.rounds, *tasks, curl)
            label = f"{1000 * latency_s:g}ms"
            figures[f"small_curl{way}_{label}_s"] = by_hand.seconds
            for name, spent in zip(places, ours, strict=True):
                figures[f"small_{name}{way}_{label}_s"] = spent.seconds
                ratios[f"small_{name}{way}_over_curl_{label}"] = round(by_hand.seconds / spent.seconds, 3)
    return ratios


def _fill(folder: Path, url: str, count: int) -> None:
    """Put small files into the store, all at once, and into the folder `small`."""
    (folder / "small").mkdir(exist_ok=True)
    for n in range(count):
        (folder / "small" / str(n)).write_bytes(os.urandom(FILE_BYTES))
    _curl(folder, "everything", f"{url}/lab/small", "upload-file", count, "--parallel")()


def _curl(folder: Path, name: str, url: str, option: str, count: int, how: str = "") -> Callable[[], Spent]:
    """A curl that moves all small files on one connection, and their checksums."""
    config = folder / name
    places = (f'url = "{url}/{n}"\n{option} = "{folder}/small/{n}"\n' for n in range(count))
    config.write_text("".join(places))
    command = f"curl -sf --no-progress-meter {how} -K {config} && cat {folder}/small/* | sha256sum"
    return partial(time_command, command)


def _task_tree_in(server: TespServer, url: str, count: int, figures: dict[str, float]) -> Spent:
    files = {"inputs": [{"url": url, "path": "/in", "type": "DIRECTORY"}]}
    log, used_s = run_task(server, files, f'test "$(ls /in | wc -l)" = {count}', figures)
    return Spent(_seconds(log["start_time"], log["logs"][0]["start_time"]), used_s)


def _task_tree_out(server: TespServer, url: str, count: int, figures: dict[str, float]) -> Spent:
    files = {"outputs": [{"url": url, "path": "/out", "type": "DIRECTORY"}]}
    command = f"cd /out && head -c {count * FILE_BYTES} /dev/urandom | split -a 4 -b {FILE_BYTES} -"
    log, used_s = run_task(server, files, command, figures)
    assert len(log["outputs"]) == count
    return Spent(_seconds(log["logs"][0]["end_time"], log["end_time"]), used_s)


# -- small parts


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
