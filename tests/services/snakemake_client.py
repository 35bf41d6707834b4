"""Snakemake as a user has it, with its TES executor: a client of ours, whose jobs run Snakemake, too."""

import json
import os
import subprocess
from pathlib import Path

from tests.services.install import SNAKEMAKE_TES_VENV, install
from tests.services.s3_servers import S3Place
from tests.services.tesp import ONLY_BUBBLEWRAP

SHOWN = "/opt/snakemake"
"""Where jobs find the folder with `pip`."""


def snakemake_image(folder: Path) -> dict[str, str]:
    """Settings of a server whose tasks find Snakemake and its plugins, as in an image that has them.

    Each task is bubblewrap with this machine's programs, its network, and the client's own environment first
    on PATH. Jobs begin with `pip install` of the storage plugin, which they have: `pip`, made in `folder`,
    does nothing.
    """
    install(SNAKEMAKE_TES_VENV)
    pip = folder / "bin/pip"
    pip.parent.mkdir(parents=True)
    pip.write_text("#!/bin/sh\n")
    pip.chmod(0o755)
    python = (SNAKEMAKE_TES_VENV / "bin/python").resolve()
    shown = {
        folder: SHOWN,
        SNAKEMAKE_TES_VENV.resolve(): SNAKEMAKE_TES_VENV,
        python.parents[1]: python.parents[1],
    }
    mounts = [word for here, there in shown.items() for word in ("--ro-bind", str(here), str(there))]
    path = f"{SHOWN}/bin:{SNAKEMAKE_TES_VENV}/bin:/usr/local/bin:/usr/bin:/bin"
    arguments = {"bubblewrap": [*mounts, "--setenv", "PATH", path]}
    return ONLY_BUBBLEWRAP | {
        "TESP_API_DESTINATIONS__LOCAL__NETWORK": "host",
        "TESP_API_DESTINATIONS__LOCAL__RUNTIME_ARGS": "@json " + json.dumps(arguments),
    }


def run_session(script: str, folder: Path, place: S3Place) -> str:
    """Run a user's shell commands in a workflow's folder; returns what they said, and fails if they do."""
    install(SNAKEMAKE_TES_VENV)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{SNAKEMAKE_TES_VENV}/bin:{os.environ['PATH']}",
            "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": place.access_key_id,
            "SNAKEMAKE_STORAGE_S3_SECRET_KEY": place.secret_access_key,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
