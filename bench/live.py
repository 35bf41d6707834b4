"""What followers cost, and how soon they see what a container writes.

The followers are read by a process with the lowest priority that only counts bytes (`bench.followers`): they
stand for other machines. What the server's own process takes of the processors is told beside the rates.

`python -m bench.live [--json] [--followers 1000] [--tasks 100] [--rounds 3] [--lines 60]`
"""

import argparse
import base64
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from bench.report import print_report
from bench.tes_client import TesClient
from tesp_api.cli.client import TespClient
from tesp_api.cli.event_stream import events
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port

AT_ONCE = 4
_PREFIX = "TESP_API_DESTINATIONS__LOCAL__"
_SHORT = {"executors": [{"image": "busybox:latest", "command": ["true"]}]}
_CHATTY: dict[str, object] = {
    "executors": [
        {"image": "busybox:latest", "command": ["sh", "-c", "while :; do date; sleep 0.2; done"]},
    ]
}
_REPOSITORY = Path(__file__).parents[1]
_EVERY_S = 0.25
_SETTLE_S, _WATCH_S = 3.0, 20.0


def main() -> None:
    """Measure both."""
    options = _options()
    _raise_file_limit()
    figures: dict[str, float] = {"load_1m_before": os.getloadavg()[0]}
    ratios = {"rate_over_unfollowed": _throughput(options, figures)}
    for name, settings in _sites():
        with settings as environment, TespServer(environment) as server:
            for followers in (0, options.followers):
                _latency(server, f"{name}_{followers}_followers", followers, options.lines, figures)
    figures["load_1m_after"] = os.getloadavg()[0]
    print_report("live", figures, ratios)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--followers", type=int, default=1000, help="streams that are open at one time")
    parser.add_argument("--tasks", type=int, default=100, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="with followers, and without, in turn")
    parser.add_argument("--lines", type=int, default=60, help="whose way to a reader is timed")
    return parser.parse_args()


def _raise_file_limit() -> None:
    """Each follower is an open file, here and in the server."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _throughput(options: argparse.Namespace, figures: dict[str, float]) -> float:
    """The rate of short tasks with followers over that without; the median of rounds, in turn."""
    with TespServer({**ONLY_BUBBLEWRAP, f"{_PREFIX}MAX_RUNNING": str(AT_ONCE + 1)}) as server:
        chatty = server.create(_CHATTY)
        server.wait(chatty, states={"RUNNING"})
        client = TesClient(server.port)
        client.run(_SHORT, 10)
        pairs, cpu_s = [], []
        for _ in range(options.rounds):
            before_s = _cpu_s(server)
            alone_s = client.run(_SHORT, options.tasks)
            alone_cpu_s = _cpu_s(server) - before_s
            with _followers(server, options.followers, chatty):
                before_s = _cpu_s(server)
                pairs.append((alone_s, client.run(_SHORT, options.tasks)))
                cpu_s.append((alone_cpu_s, _cpu_s(server) - before_s))
        figures["server_cpu_ms_per_s_of_followers"] = 1000 * _of_followers(server, options, chatty)
        server.client.post(f"/ga4gh/tes/v1/tasks/{chatty}:cancel")
    per_task = [[1000 * spent / options.tasks for spent in each] for each in zip(*cpu_s, strict=True)]
    figures["server_cpu_ms_per_task_unfollowed"] = statistics.median(per_task[0])
    figures["server_cpu_ms_per_task_followed"] = statistics.median(per_task[1])
    figures["tasks_per_s_unfollowed"] = options.tasks / statistics.median(alone for alone, _ in pairs)
    figures["tasks_per_s_followed"] = options.tasks / statistics.median(followed for _, followed in pairs)
    return round(statistics.median(alone / followed for alone, followed in pairs), 3)


def _of_followers(server: TespServer, options: argparse.Namespace, chatty: str) -> float:
    """Seconds of a processor that the server takes in a second for its followers alone."""
    spent = []
    for followers in (0, options.followers):
        with _followers(server, followers, chatty) if followers else nullcontext():
            time.sleep(_SETTLE_S)
            before_s, began_at = _cpu_s(server), time.monotonic()
            time.sleep(_WATCH_S)
            spent.append((_cpu_s(server) - before_s) / (time.monotonic() - began_at))
    return spent[1] - spent[0]


def _cpu_s(server: TespServer) -> float:
    """What the server's process has taken of the processors: a figure that other load changes little."""
    assert server.process is not None
    parts = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _followers(server: TespServer, count: int, chatty: str) -> Iterator[None]:
    """Three of four follow a task that writes five lines a second, the others all tasks."""
    everything = count // 4
    paths = [str(count - everything), f"/tesp/v1/tasks/{chatty}/events", str(everything), "/tesp/v1/events"]
    command = [sys.executable, "-m", "bench.followers", str(server.port), *paths]
    with subprocess.Popen(
        command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the followers could not begin")
        yield
        process.stdin.close()
        streams, closed, read_bytes = map(int, process.stdout.readline().split())
    if streams != count or closed or not read_bytes:
        raise SystemExit(f"of {count} followers {streams} began, and {closed} were sent away")


@contextmanager
def _embedded() -> Iterator[dict[str, str]]:
    yield {**ONLY_BUBBLEWRAP, f"{_PREFIX}MAX_RUNNING": "4"}


@contextmanager
def _over_the_channel() -> Iterator[dict[str, str]]:
    """A stock Pulsar that is hardly ever polled: workers report."""
    port = free_port()
    with StockPulsar() as pulsar:
        yield {
            **ONLY_BUBBLEWRAP,
            f"{_PREFIX}KIND": "rest",
            f"{_PREFIX}URL": pulsar.url,
            f"{_PREFIX}PRIVATE_TOKEN": pulsar.private_token,
            f"{_PREFIX}MAX_RUNNING": "4",
            "TESP_API_CHANNEL__PORT": str(port),
            "TESP_API_CHANNEL__URL": f"http://127.0.0.1:{port}",
            "TESP_API_SCHEDULER__POLL_MIN_S": "300",
            "TESP_API_SCHEDULER__POLL_MAX_S": "300",
        }


def _sites() -> Iterator[tuple[str, AbstractContextManager[dict[str, str]]]]:
    yield "embedded", _embedded()
    yield "channel", _over_the_channel()


def _latency(server: TespServer, name: str, followers: int, lines: int, figures: dict[str, float]) -> None:
    """From the moment that a program in a container writes a line to that when a reader has it."""
    script = f"for i in $(seq {lines}); do date +%s.%N; sleep {_EVERY_S}; done"
    task: dict[str, object] = {"executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}]}
    if not followers:
        latencies = _read_lines(server, task)
    else:
        chatty = server.create(_CHATTY)
        server.wait(chatty, states={"RUNNING"})
        with _followers(server, followers, chatty):
            latencies = _read_lines(server, task)
        server.client.post(f"/ga4gh/tes/v1/tasks/{chatty}:cancel")
        server.wait(chatty)
    figures[f"{name}_p50_ms"] = 1000 * statistics.median(latencies)
    figures[f"{name}_p95_ms"] = 1000 * sorted(latencies)[len(latencies) * 95 // 100]
    figures[f"{name}_max_ms"] = 1000 * max(latencies)


def _read_lines(server: TespServer, task: dict[str, object]) -> list[float]:
    task_id = server.create(task)
    rest, latencies = b"", []
    with TespClient(server.url) as client:
        for event in events(client, f"/tesp/v1/tasks/{task_id}/events", {"logs": "base64"}):
            seen_at = time.time()
            if event.name == "log":
                *whole, rest = (rest + base64.b64decode(event.data["base64"])).split(b"\n")
                latencies += [seen_at - float(line) for line in whole]
    if not latencies:
        raise SystemExit(f"nothing was read: {json.dumps(server.get(task_id))[:2000]}")
    return latencies


if __name__ == "__main__":
    main()
