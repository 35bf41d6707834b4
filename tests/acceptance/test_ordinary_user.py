"""Pulsar and its workers as an ordinary user: what containers leave owned by root is sent and cleaned."""

import pwd
import subprocess
from collections.abc import Iterator

import pytest

from tests.services.containers import require_docker
from tests.services.gated_http import GatedHttp
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import ONLY_DOCKER, TespServer, poll

pytestmark = pytest.mark.services

USER = "tespsite"


@pytest.fixture
def user() -> Iterator[str]:
    """A user who may use Docker and nothing else."""
    require_docker()
    subprocess.run(["useradd", "--no-create-home", "--groups", "docker", USER], check=True)
    yield USER
    subprocess.run(["userdel", "--force", USER], check=True, capture_output=True)


def test_files_of_root_are_sent_and_cleaned(user: str) -> None:
    with GatedHttp() as web, StockPulsar(user=user) as pulsar:
        settings = ONLY_DOCKER | {
            "TESP_API_DESTINATIONS__LOCAL__KIND": "rest",
            "TESP_API_DESTINATIONS__LOCAL__URL": pulsar.url,
            "TESP_API_DESTINATIONS__LOCAL__PRIVATE_TOKEN": pulsar.private_token,
        }
        script = "umask 077; mkdir /out/d; id -u > /out/d/secret; chmod 000 /out/d/secret; chmod 000 /out/d"
        with TespServer(settings) as server:
            task_id = server.create(
                {
                    "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
                    "outputs": [{"url": f"{web.url}/out", "path": "/out", "type": "DIRECTORY"}],
                }
            )
            poll(lambda: any(pulsar.staging.glob(f"{task_id}*")), timeout_s=20, why="no job directory")
            (job,) = pulsar.staging.glob(f"{task_id}*")
            assert job.stat().st_uid == pwd.getpwnam(user).pw_uid, "Pulsar does not run as the user"
            task = server.wait(task_id)
            assert task["state"] == "COMPLETE", task
            assert web.files["/out/d/secret"] == b"0\n"
            poll(lambda: not job.exists(), timeout_s=10, why="the job's directory stays at the site")
