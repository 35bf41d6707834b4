"""`make audit`: what it says of what pip-audit has found; what was not looked up is no good sign."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[2] / ".ci/audit.py"))
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


def test_every_package_of_it_has_its_hash() -> None:
    text = (Path(__file__).parents[2] / ".ci/pip-audit-requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 20 and all("==" in line and "--hash=sha256:" in line for line in lines)
