"""A stock Pulsar before a real Slurm, with its managers of both kinds, and a server that knows them."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.services.install import DRMAA_VENV, install
from tests.services.pulsar_rest import StockPulsar
from tests.services.slurm import Slurm
from tests.services.tesp import TespServer

DESTINATION = "TESP_API_DESTINATIONS__"
OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
SPARE = {
    "type": "queued_cli",
    "job_plugin": "Slurm",
    "job_ncpus": "5",
    "job_--mem": "1000",
    "job_time": "10",
    "job_partition": "again",
}
"""A manager whose jobs Slurm may preempt, and then queues again: its operator has forgotten to forbid it."""
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "small": {"TASK_MAX_CORES": "1", "TASK_MAX_RAM_GB": "1", "WEIGHT": "3"},
    "large": {"TASK_MAX_CORES": "4", "TASK_MAX_RAM_GB": "8", "WEIGHT": "2"},
    "spare": {"PREEMPTIBLE": "true"},
    "drmaa": {"SCHEDULER": "slurm-drmaa"},
}
PLACES = (os.environ.get("TESP_TEST_SLURM_DRMAA"), "/opt/slurm-drmaa/lib/libdrmaa.so.1")


def drmaa_library() -> str | None:
    """Slurm's, where somebody has built it: Debian has no package of it. See docs/operations.md."""
    return next((place for place in PLACES if place and Path(place).exists()), None)


def documented_managers() -> dict[str, dict[str, Any]]:
    """Those for Slurm that docs/operations.md shows."""
    shown = re.findall(r"^```yaml\n(.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
    managers = {name: one for text in shown for name, one in yaml.safe_load(text)["managers"].items()}
    return {name: managers[name] for name in ("small", "large", "drmaa")}


def documented_squeue() -> str:
    """The script that docs/operations.md puts before Slurm's own."""
    [script] = re.findall(r"^```sh\n(#!/bin/sh\n.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
    return str(script)


@contextlib.contextmanager
def pulsar_before(slurm: Slurm, programs: Path | None = None) -> Iterator[StockPulsar]:
    """Pulsar; what is in the folder `programs` takes the place of Slurm's commands."""
    managers = documented_managers() | {"spare": SPARE}
    environment = dict(slurm.environment)
    if (library := drmaa_library()) is None:
        del managers["drmaa"]
    else:
        install(DRMAA_VENV)
        packages = next(DRMAA_VENV.glob("lib/python3*/site-packages"))
        environment |= {"DRMAA_LIBRARY_PATH": library, "PYTHONPATH": str(packages)}
    if programs is not None:
        environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    with StockPulsar(managers=managers, environment=environment) as pulsar:
        yield pulsar


def server_of(pulsar: StockPulsar, runtimes: Mapping[str, str], **settings: str) -> TespServer:
    """The server, not yet started; `runtimes` names docker or bubblewrap for each destination."""
    environment = dict(settings)
    for name, more in SETTINGS.items():
        if name == "drmaa" and drmaa_library() is None:
            continue
        docker = runtimes.get(name) == "docker"
        keys = {
            "KIND": "rest",
            "URL": pulsar.url,
            "PRIVATE_TOKEN": pulsar.private_token,
            "MANAGER": name,
            "RUNTIMES": '@json ["docker"]' if docker else "@json []",
            "ALLOW_BUBBLEWRAP": "false" if docker else "true",
            **more,
        }
        environment |= {f"{DESTINATION}{name.upper()}__{key}": value for key, value in keys.items()}
    return TespServer(environment)
