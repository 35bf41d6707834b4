"""py-tes as clients have it: each version in an environment of its own, in a process of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.services.install import PY_TES_04_VENV, PY_TES_11_VENV, install

VENVS = {"0.4.2": PY_TES_04_VENV, "1.1.4": PY_TES_11_VENV}

READ_ALL = """
import json, sys, tes.models
from tes.utils import unmarshal
for kind, answer in json.load(sys.stdin):
    unmarshal(answer, getattr(tes.models, kind))
"""


def run_py_tes(version: str, script: str, *arguments: str | Path, stdin: Any = None) -> Any:
    """Run a script with this version of py-tes; returns what it printed last, as JSON.

    It fails with the script's stderr if the script does.
    """
    venv = VENVS[version]
    install(venv)
    done = subprocess.run(
        [venv / "bin" / "python", "-c", script, *arguments],
        input=json.dumps(stdin),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else None


def assert_readable(version: str, answers: list[tuple[str, Any]]) -> None:
    """This version can turn each answer into its model; each is given as (name of the model, answer)."""
    run_py_tes(version, READ_ALL, stdin=answers)
