"""What a stock Pulsar's HTCondor manager writes into its submit files, for tasks that say what they need.

HTCondor itself is played by a script that starts the job at once.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import TespServer

pytestmark = pytest.mark.services

PREFIX = "TESP_API_DESTINATIONS__CONDOR__"
CONDOR_SUBMIT = """#!/bin/sh
cp "$1" "{folder}/$(basename "$(dirname "$(sed -n 's/^executable = //p' "$1")")").submit"
job=$(sed -n 's/^executable = //p' "$1")
setsid sh "$job" > /dev/null 2>&1 &
echo "1 job(s) submitted to cluster $$."
"""


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("submitted")


@pytest.fixture(scope="module")
def pulsar(submitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockPulsar]:
    programs = tmp_path_factory.mktemp("condor")
    for name, script in (
        ("condor_submit", CONDOR_SUBMIT.format(folder=submitted)),
        ("condor_rm", "#!/bin/sh\n"),
    ):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        with StockPulsar(managers={"_default_": {"type": "queued_condor"}}) as pulsar:
            yield pulsar


@pytest.fixture
def server(pulsar: StockPulsar) -> Iterator[TespServer]:
    settings = {
        f"{PREFIX}KIND": "rest",
        f"{PREFIX}URL": pulsar.url,
        f"{PREFIX}PRIVATE_TOKEN": pulsar.private_token,
        f"{PREFIX}RUNTIMES": "@json []",
        f"{PREFIX}ALLOW_BUBBLEWRAP": "true",
        f"{PREFIX}SCHEDULER": "condor",
        f"{PREFIX}SUBMIT_PARAMS": '@json {"accounting_group": "lab.tes"}',
    }
    with TespServer(settings) as server:
        yield server


def test_condor_is_told_what_each_task_needs(server: TespServer, submitted: Path) -> None:
    task_id = server.create(
        {
            "executors": [{"image": "busybox:latest", "command": ["echo", "ran"]}],
            "resources": {
                "cpu_cores": 1,
                "ram_gb": 0.5,
                "disk_gb": 2,
                "zones": ["x\nexecutable = /bin/false"],
                "backend_parameters": {"walltime_s": "600"},
            },
        }
    )
    task = server.wait(task_id)
    assert task["state"] == "COMPLETE", task
    (file,) = submitted.iterdir()
    lines = dict(re.findall(r"^(\w+) = (.*)$", file.read_text(), re.MULTILINE))
    assert {key: lines[key] for key in lines if key.startswith(("request", "periodic", "account"))} == {
        "request_cpus": "1",
        "request_memory": "477",
        "request_disk": "1953125",
        "periodic_remove": "JobStatus==2&&time()-JobCurrentStartDate>600",
        "accounting_group": "lab.tes",
    }
    assert Path(lines["executable"]).name != "false"
