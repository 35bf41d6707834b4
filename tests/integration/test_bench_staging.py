"""That the benchmark of staging runs on little and gives every figure; how fast it all is, it says itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.services

LARGE = ("http_in", "http_out", "s3_in", "s3_out")
KINDS = ("http", "http_out", "s3", "s3_out")
SMALL = [f"small_{kind}_over_curl_{latency}" for kind in KINDS for latency in ("5ms", "0ms")]
LITTLE = ["--bytes", "40000000", "--files", "30", "--rounds", "1"]


def test_the_benchmark_gives_every_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.staging", "--json", *LITTLE, "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    figures, ratios = report["figures"], report["ratios"]
    assert report["bench"] == "staging"
    for name in LARGE:
        for side in (name, f"{name}_by_hand"):
            assert figures[f"{side}_mb_per_s"] > 0 and figures[f"{side}_processor_s"] > 0
    assert set(ratios) == {
        "http_over_curl",
        "s3_over_boto3",
        "s3_ceiling_over_figure",
        *(f"{name}_over_by_hand" for name in LARGE),
        *SMALL,
    }
    assert all(value > 0 for value in ratios.values())
    assert ratios["s3_over_boto3"] == min(ratios["s3_in_over_by_hand"], ratios["s3_out_over_by_hand"])
    assert 0 < figures["worker_rss_mb"] <= 80
    assert figures["server_rss_growth_mb"] < 20
    assert not list(tmp_path.iterdir())
