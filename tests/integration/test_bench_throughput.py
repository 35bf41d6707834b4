"""That the benchmark of throughput runs on little and gives its figures; how fast it is, it says itself."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.services

LITTLE = ["--tasks", "2", "--rounds", "1", "--live", "20", "--watch-s", "1", "--pushed", "4"]
PARTS = "rest,embedded,live,pushed"


def test_the_benchmark_gives_its_figures() -> None:
    command = [sys.executable, "-m", "bench.throughput", "--json", "--only", PARTS, *LITTLE]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    figures, ratios = report["figures"], report["ratios"]
    assert report["bench"] == "throughput"
    assert set(ratios) == {
        "rest_over_bare",
        "embedded_over_bare",
        "live_get_p99_over_idle",
        "live_states_right_over_poll",
    }
    assert all(value > 0 for value in ratios.values())
    assert figures["live_tasks"] == 20 and figures["live_rss_mb"] > 0
    assert figures["live_most_looks_per_30s"] == 0  # nothing ran for a minute
    assert figures["pushed_state_p95_ms"] > 0 and figures["pushed_state_4_at_once_p95_ms"] > 0
