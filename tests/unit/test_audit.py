"""`make audit`: what it says of what pip-audit has found; what was not looked up is no good sign."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.services.install import install

REPOSITORY = Path(__file__).parents[2]
AUDIT = runpy.run_path(str(REPOSITORY / ".ci/audit.py"))
FINE: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD: dict[str, Any] = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1", "3"]}],
}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([FINE], 0, ["1 of 1 packages looked up, 0 vulnerabilities"]),
        ([FINE, BAD], 1, ["b 2: PYSEC-1 (CVE-1), mended in 2.1, 3", "2 of 2 packages", "1 vulnerabilities"]),
        (
            [FINE, UNKNOWN],
            2,
            ["1 of 2 packages looked up", "does not know c:", "--vulnerability-service osv"],
        ),
        ([UNKNOWN, BAD], 1, ["PYSEC-1", "does not know c"]),
    ],
)
def test_each_report_is_told(packages: list[Any], code: int, words: list[str]) -> None:
    lines, found = AUDIT["told"](json.dumps({"dependencies": packages, "fixes": []}), "")
    assert found == code
    assert all(word in "\n".join(lines) for word in words), lines


@pytest.mark.parametrize("report", ["", "{}", "[]", "null", "<html>"])
def test_a_service_that_cannot_be_reached_is_no_good_sign(report: str) -> None:
    lines, code = AUDIT["told"](report, "Traceback\nConnectionError: api.osv.dev: no route\n")
    assert code == 2
    assert "cannot be reached" in lines[0] and "no route" in lines[1]


@pytest.mark.services
def test_without_a_network_it_says_so_and_ends_with_2() -> None:
    install(AUDIT["VENV"], AUDIT["NEEDED"])
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    ended = _audit(nowhere)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout.startswith("the advisory service cannot be reached, so nothing is known:\n  ")
    assert "Traceback" not in ended.stdout + ended.stderr


def test_if_it_cannot_be_installed_that_is_no_finding(tmp_path: Path) -> None:
    """Which would be 1."""
    copied = tmp_path / ".ci/audit.py"
    copied.parent.mkdir()
    copied.write_text((REPOSITORY / ".ci/audit.py").read_text())
    (copied.parent / "pip-audit-requirements.txt").write_text("pip-audit==1\n")
    (tmp_path / "tests").symlink_to(REPOSITORY / "tests")
    ended = _audit({"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0"}, copied)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == "pip-audit cannot be installed (see above), so nothing is known\n"


def _audit(environment: dict[str, str], script: Path = REPOSITORY / ".ci/audit.py") -> Any:
    return subprocess.run(
        [sys.executable, script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_package_of_it_has_its_hash() -> None:
    text = (REPOSITORY / ".ci/pip-audit-requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 20 and all("==" in line and "--hash=sha256:" in line for line in lines)
