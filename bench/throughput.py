"""How many tasks a second, beside bare clients of Pulsar and bare Docker; how many live; how soon it shows.

`python -m bench.throughput [--json] [--only rest,amqp,embedded,docker,live,pushed] [--tasks 200]
[--docker-tasks 100] [--live 10000] [--watch-s 130] [--pushed 20] [--rounds 3] [--peer URL]`
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.bare_pulsar import BareAmqp, BareEmbedded, BareRest, orders, pulsar_app
from bench.live_tasks import measure_live_tasks
from bench.pushed_states import measure_pushed_states
from bench.report import print_report
from bench.tes_client import TesClient, run_at_peer
from tests.services.containers import require_docker
from tests.services.pulsar_amqp import AmqpStockPulsar
from tests.services.pulsar_rest import StockPulsar
from tests.services.rabbitmq import RabbitMQ
from tests.services.tesp import ONLY_BUBBLEWRAP, ONLY_DOCKER, TespServer

AT_ONCE = 4
IMAGE = "busybox:latest"
TASK = {"executors": [{"image": IMAGE, "command": ["true"]}]}
PARTS = ("rest", "amqp", "embedded", "docker", "live", "pushed")
CESNET_OVER_XARGS = 0.5
"""CESNET/tesp-api's rate over that of bare Docker, as measured once; `--peer` measures it anew."""

_PREFIX = "TESP_API_DESTINATIONS__LOCAL__"

Side = Callable[[int], float]
"""Runs so many tasks, or jobs; the seconds that it took."""


def main() -> None:
    """Measure all of it, or what `--only` names."""
    options = _options()
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name, sides in (("rest", _rest), ("amqp", _amqp), ("embedded", _embedded)):
        if name in options.only:
            with sides() as (tesp, bare):
                ratios[f"{name}_over_bare"] = _rates(name, tesp, bare, options.tasks, options.rounds, figures)
    if "docker" in options.only:
        ratios |= _docker(options, figures)
    if "live" in options.only:
        ratios |= measure_live_tasks(options.live, options.watch_s, figures)
    if "pushed" in options.only:
        measure_pushed_states(options.pushed, figures)
    print_report("throughput", figures, ratios)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help=", ".join(PARTS))
    parser.add_argument("--tasks", type=int, default=200, help="of each round through Pulsar")
    parser.add_argument("--docker-tasks", type=int, default=100, help="of each round in containers")
    parser.add_argument("--rounds", type=int, default=3, help="after one of a few tasks that warms up")
    parser.add_argument("--live", type=int, default=10_000, help="tasks that live at one time")
    parser.add_argument("--watch-s", type=float, default=130.0, help="so long they are watched")
    parser.add_argument("--pushed", type=int, default=20, help="tasks whose changes of state are timed")
    parser.add_argument("--peer", help="another TES server, as http://127.0.0.1:8000/ga4gh/tes/v1")
    return parser.parse_args()


def _rates(
    name: str,
    tesp: Side,
    other: Side,
    count: int,
    rounds: int,
    figures: dict[str, float],
    against: str = "bare",
) -> float:
    """TESP's rate over the other's; the two take turns, and the median round counts."""
    for side in (tesp, other):
        side(max(1, min(10, count // 4)))
    pairs = [(tesp(count), other(count)) for _ in range(rounds)]
    figures[f"{name}_tasks_per_s"] = count / statistics.median(ours_s for ours_s, _ in pairs)
    figures[f"{name}_{against}_per_s"] = count / statistics.median(theirs_s for _, theirs_s in pairs)
    return round(statistics.median(theirs_s / ours_s for ours_s, theirs_s in pairs), 3)


@contextmanager
def _rest() -> Iterator[tuple[Side, Side]]:
    """Both sides use one Pulsar."""
    with StockPulsar() as pulsar:
        site = {"kind": "rest", "url": pulsar.url, "private_token": pulsar.private_token}
        bare = BareRest(pulsar.port, pulsar.private_token)
        with _tesp(site) as tesp:
            yield tesp, lambda count: bare.run(_orders(site, count), AT_ONCE)


@contextmanager
def _amqp() -> Iterator[tuple[Side, Side]]:
    """One broker and one Pulsar, of which each side has a manager: updates go to whoever hears them first."""
    managers = {name: {"type": "queued_python"} for name in ("_default_", "bare")}
    with RabbitMQ() as broker, AmqpStockPulsar(broker, managers=managers):
        site = {"kind": "amqp", "url": broker.url}
        bare = BareAmqp(broker.url, "bare")
        with _tesp(site) as tesp:
            yield tesp, lambda count: bare.run(_orders(site, count), AT_ONCE)


@contextmanager
def _embedded() -> Iterator[tuple[Side, Side]]:
    """A PulsarApp in the server, and one in this process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tesp-bench-")))
        bare = BareEmbedded(stack.enter_context(pulsar_app(folder)), sys.executable)
        tesp = stack.enter_context(_tesp({}))
        yield tesp, lambda count: bare.run(_orders({}, count), AT_ONCE)


def _orders(site: dict[str, str], count: int) -> list[Any]:
    return orders(TASK, {"runtimes": [], "allow_bubblewrap": True, **site}, count)


@contextmanager
def _tesp(site: dict[str, str], runtime: dict[str, str] = ONLY_BUBBLEWRAP) -> Iterator[Side]:
    settings = {f"{_PREFIX}{key.upper()}": value for key, value in site.items()}
    with TespServer({**runtime, f"{_PREFIX}MAX_RUNNING": str(AT_ONCE), **settings}) as server:
        client = TesClient(server.port)
        yield lambda count: client.run(TASK, count)


def _docker(options: argparse.Namespace, figures: dict[str, float]) -> dict[str, float]:
    require_docker()
    with _tesp({}, ONLY_DOCKER) as tesp:
        ratios = {
            "docker_over_xargs": _rates(
                "docker", tesp, _xargs, options.docker_tasks, options.rounds, figures, "xargs"
            )
        }
        ratios["docker_over_cesnet"] = round(ratios["docker_over_xargs"] / CESNET_OVER_XARGS, 3)
        if options.peer:
            peer: Side = lambda count: run_at_peer(options.peer, TASK, count)  # noqa: E731
            figured: dict[str, float] = {}
            ratios["docker_over_peer"] = _rates(
                "docker", tesp, peer, options.docker_tasks, options.rounds, figured, "peer"
            )
            figures["docker_peer_per_s"] = figured["docker_peer_per_s"]
    return ratios


def _xargs(count: int) -> float:
    command = f"seq {count} | xargs -P {AT_ONCE} -I @ docker run --rm {IMAGE} true"
    began = time.perf_counter()
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
