"""Look the locked packages up among the known vulnerabilities.

Usage: python3 .ci/audit.py [OPTIONS OF PIP-AUDIT]

Exit codes: 0 all were looked up and none is known to be vulnerable; 1 some are; 2 not all could be looked up.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
VENV = REPOSITORY / ".venvs/pip-audit"
NEEDED = REPOSITORY / ".ci/pip-audit-requirements.txt"

VULNERABLE, NOT_LOOKED_UP = 1, 2


def main(options: list[str]) -> int:
    sys.path.insert(0, str(REPOSITORY))
    from tests.services.install import install

    try:
        install(VENV, NEEDED)
    except subprocess.CalledProcessError:
        print("pip-audit cannot be installed (see above), so nothing is known")
        return NOT_LOOKED_UP
    with tempfile.TemporaryDirectory(prefix="tesp-audit-") as folder:
        locked = Path(folder) / "requirements.txt"
        with locked.open("w") as file:
            command = [sys.executable, str(REPOSITORY / ".ci/locked_requirements.py"), "main", "dev"]
            subprocess.run(command, stdout=file, check=True)
        audit = [
            str(VENV / "bin/pip-audit"),
            "--requirement",
            str(locked),
            "--require-hashes",
            "--disable-pip",
        ]
        audit += ["--format", "json", "--progress-spinner", "off", *options]
        done = subprocess.run(audit, capture_output=True, text=True, check=False)
    lines, code = told(done.stdout, done.stderr)
    print("\n".join(lines))
    return code


def told(report: str, errors: str) -> tuple[list[str], int]:
    """What to say of a report of pip-audit, and the exit code."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, LookupError, TypeError):
        said = errors.strip().splitlines() or ["it says nothing"]
        return [
            "the advisory service cannot be reached, so nothing is known:",
            f"  {said[-1][:500]}",
        ], NOT_LOOKED_UP
    lines, unknown = [], []
    for package in packages:
        name = f"{package['name']} {package.get('version', '')}".strip()
        if "skip_reason" in package:
            unknown.append(name)
        for found in package.get("vulns", []):
            mended = ", ".join(found.get("fix_versions") or []) or "no version yet"
            also = ", ".join(found.get("aliases") or [])
            lines.append(f"{name}: {found['id']}{f' ({also})' if also else ''}, mended in {mended}")
    looked_up = len(packages) - len(unknown)
    lines.append(f"{looked_up} of {len(packages)} packages looked up, {len(lines)} vulnerabilities known")
    if unknown:
        lines.append(
            f"the advisory service does not know {', '.join(unknown[:5])}{' ...' if unknown[5:] else ''}:"
        )
        lines.append('  another one may: make audit ARGS="--vulnerability-service osv"')
    return lines, VULNERABLE if any(
        package.get("vulns") for package in packages
    ) else NOT_LOOKED_UP if unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
