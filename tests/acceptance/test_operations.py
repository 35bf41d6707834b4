"""A backup, as docs/operations.md has it, of a running server, put back; and what becomes of its tasks."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.servers import environment_of
from tests.services.mongod import Mongod
from tests.services.tesp import TespServer

pytestmark = [pytest.mark.sampled(1), pytest.mark.services]

OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
BACKUP, RESTORE = re.findall(r"^```bash\n(.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
HELLO = {"executors": [{"image": "busybox:latest", "command": ["echo", "hello"]}]}


@pytest.fixture(params=["sqlite", "mongodb"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server with one place for tasks, and a folder that it shares with them."""
    (tmp_path / "shared").mkdir()
    with environment_of("embedded-bubblewrap", roots={tmp_path / "shared": "rw"}) as settings:
        settings |= {
            "TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": "1",
            "TESP_API_SCHEDULER__HEARTBEAT_S": "1",
            "BACKUP": str(tmp_path),
        }
        if request.param == "mongodb":
            mongod: Mongod = request.getfixturevalue("mongod_replica_set")
            settings |= {"TESP_API_STORE__URL": mongod.url, "TESP_API_STORE__DATABASE": "operations"}
            request.addfinalizer(lambda: mongod.drop("operations"))
        yield settings


def run(script: str, server: TespServer) -> str:
    """What the operator's shell says."""
    environment = server.environment_of_process()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_backup_can_be_put_back(environment: dict[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    script = "echo ran >> /shared/waits; while [ ! -e /shared/go_on ]; do sleep 0.05; done; echo done"
    waits = {
        "inputs": [{"url": f"file://{shared}", "path": "/shared", "type": "DIRECTORY"}],
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
    }
    with TespServer(environment, data=tmp_path / "data") as server:
        ended = server.run(HELLO)
        running = server.create(waits)
        server.wait(running, states={"RUNNING"})
        queued = server.create(HELLO)
        assert "3 tasks" in run(BACKUP, server)
        server.stop()

        # Put back at once: the job has gone on, and is taken up again.
        assert "3 tasks" in run(RESTORE, server)
        server.start()
        (shared / "go_on").touch()
        assert [server.wait(one)["state"] for one in (running, queued)] == ["COMPLETE", "COMPLETE"]
        later = server.run(HELLO)
        server.stop()

        # Put back when the jobs are gone: what ran has no result, what waited is run once more.
        run(RESTORE, server)
        server.start()
        assert server.get(ended["id"]) == ended
        assert server.client.get(f"/ga4gh/tes/v1/tasks/{later['id']}").status_code == 404
        lost = server.wait(running)
        assert lost["state"] == "SYSTEM_ERROR"
        assert "vanished without a result" in "\n".join(lost["logs"][0]["system_logs"])
        assert server.wait(queued)["logs"][0]["logs"][0]["stdout"] == "hello\n"
        assert server.run(HELLO)["state"] == "COMPLETE"
        assert (shared / "waits").read_text() == "ran\n"
