"""What TESP adds to a trivial task: submit to COMPLETE, beside the bare command on the same machine.

The bare command and the task take turns, so that both see the same machine. The server is a fresh one
on its defaults (SQLite, embedded Pulsar), asked for the task's state every 5 ms.
"""

import json
import statistics
import subprocess
import time
from typing import Any

from bench.report import print_report
from tests.services.containers import require_docker
from tests.services.tesp import ONLY_BUBBLEWRAP, ONLY_DOCKER, TespServer

RUNS = 20
IMAGE = "busybox:latest"
BARE_DOCKER = ["docker", "run", "--rm", IMAGE, "true"]
BARE_BUBBLEWRAP = ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"]


def main() -> None:
    """Measure docker, then bubblewrap."""
    require_docker()
    figures: dict[str, float] = {}
    for name, environment, bare in (
        ("docker", ONLY_DOCKER, BARE_DOCKER),
        ("bubblewrap", ONLY_BUBBLEWRAP, BARE_BUBBLEWRAP),
    ):
        with TespServer(environment) as server:
            bare_s, task_s = _take_turns(server, bare)
        figures |= {
            f"bare_{name}_s": statistics.median(bare_s),
            f"{name}_task_s": statistics.median(task_s),
            f"{name}_task_max_s": max(task_s),
        }
    figures["docker_overhead_s"] = figures["docker_task_s"] - figures["bare_docker_s"]
    figures["embedded_bubblewrap_s"] = figures["bubblewrap_task_s"]
    ratios = {"docker_task_over_bare": round(figures["docker_task_s"] / figures["bare_docker_s"], 3)}
    print_report("latency", figures, ratios)


def _take_turns(server: TespServer, bare: list[str]) -> tuple[list[float], list[float]]:
    bare_s, task_s = [], []
    for run in range(RUNS + 2):  # the first two warm up
        timings = (_time_bare(bare), _time_task(server))
        if run >= 2:
            bare_s.append(timings[0])
            task_s.append(timings[1])
    return bare_s, task_s


def _time_bare(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def _time_task(server: TespServer) -> float:
    task: dict[str, Any] = {"executors": [{"image": IMAGE, "command": ["true"]}]}
    began = time.perf_counter()
    task_id = server.create(task)
    while (state := server.get(task_id, "MINIMAL")["state"]) in {"QUEUED", "INITIALIZING", "RUNNING"}:
        time.sleep(0.005)
    took_s = time.perf_counter() - began
    if state != "COMPLETE":
        raise SystemExit(f"the task ended {state}: {json.dumps(server.get(task_id), indent=1)}")
    return took_s


if __name__ == "__main__":
    main()
