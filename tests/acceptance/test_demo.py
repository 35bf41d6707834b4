"""`tesp demo` does what it says, and leaves nothing behind."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from tesp_api.cli.demo.run import DATA
from tests.acceptance.served import BIN
from tests.services.containers import require_docker


def test_the_genome_is_what_its_readme_says() -> None:
    readme = (DATA / "README.md").read_text()
    genome = (DATA / "lambda.fa").read_bytes()
    assert hashlib.sha256(genome).hexdigest() in readme
    header, *lines = genome.decode().splitlines()
    sequence = "".join(lines)
    assert "NC_001416.1" in header
    assert len(sequence) == 48502
    assert " ".join(str(sequence.count(base)) for base in "ACGT") in readme


@pytest.mark.services
@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "environment", [{}, {"DOCKER_HOST": "unix:///no/daemon"}], ids=["as it is", "without docker"]
)
def test_the_demo_runs_and_cleans_up(tmp_path: Path, environment: dict[str, str]) -> None:
    require_docker()
    ended = subprocess.run(
        [BIN / "tesp", "demo"],
        cwd=tmp_path,
        env=os.environ | environment | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    said = ended.stdout
    assert ended.returncode == 0, said + ended.stderr
    assert "Containers: " in said
    steps = ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
    places = [said.index(f" s  {step}  ") for step in steps]
    assert places[2] < said.index("executor 0 ended") < places[3], "the states are not shown as they come"
    assert places == sorted(places)
    assert all(f"executor {number} ended with exit code 0" in said for number in range(3))
    assert re.search(r"^ *length +48502 +100\.00$", said, re.MULTILINE)
    assert re.search(r"^ *2501 +5000 +58\.9 +#{30}$", said, re.MULTILINE)
    assert re.search(r"^ *GCCGGA +55$", said, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []
