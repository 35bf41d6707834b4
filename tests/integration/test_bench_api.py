"""That the API's benchmark runs on few tasks and gives every figure; how fast things are, it says itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.api_questions import LISTS

pytestmark = pytest.mark.services

QUESTIONS = {"create", "get_minimal", "get_full", *LISTS}
SMALL = ["--tasks", "10000", "--few", "2000", "--samples", "10", "--seconds", "0.1"]


def test_the_benchmark_gives_every_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.api", "--json", *SMALL, "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    figures, ratios = report["figures"], report["ratios"]
    assert report["bench"] == "api_sqlite"
    for question in QUESTIONS:
        for size in ("1k", "1m"):
            assert 0 < figures[f"{question}_{size}_p50_ms"] <= figures[f"{question}_{size}_p99_ms"]
    assert set(ratios) == {
        "p99_1m_over_1k_max",
        "late_page_over_first",
        "create_over_bare",
        "get_minimal_over_bare",
        "list_page_over_pydantic",
        *(f"p99_1m_over_1k_{question}" for question in QUESTIONS),
    }
    assert ratios["p99_1m_over_1k_max"] == max(ratios[f"p99_1m_over_1k_{one}"] for one in QUESTIONS)
    assert all(value >= 0 for value in ratios.values())  # a short round may see no answer
    assert figures["rss_mb"] > 0
