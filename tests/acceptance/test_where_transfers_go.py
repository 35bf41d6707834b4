"""Where transfers may go, on a whole server: refused at creation, or by the worker, unless it is allowed."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.services.file_server import FileServer
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

pytestmark = pytest.mark.services

LOCAL_NETWORKS = "TESP_API_TRANSFERS__LOCAL_NETWORKS"


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer() as server:
        server.files["/x"] = b"content"
        yield server


def task_of(url: str) -> dict[str, Any]:
    command = ["sh", "-c", "cat /in/x"]
    return {
        "inputs": [{"url": url, "path": "/in/x"}],
        "executors": [{"image": "busybox:latest", "command": command}],
    }


def test_loopback_is_refused_by_default(files: FileServer) -> None:
    with TespServer(ONLY_BUBBLEWRAP | {LOCAL_NETWORKS: "@json []"}) as server:
        task = task_of(f"{files.url}/x")
        outputs = [{"url": f"http://localhost:{files.port}/y", "path": "/in/x"}]
        refused = server.client.post("/ga4gh/tes/v1/tasks", json=task | {"outputs": outputs})
        assert refused.status_code == 400
        assert (
            "127.0.0.1 is a loopback address, and transfers.local_networks does not hold it" in refused.text
        )
        assert "inputs[0].url" in refused.text and "outputs[0].url" in refused.text
        dry = server.client.post("/tesp/v1/tasks:validate", json=task).json()
        assert [fault["field"] for fault in dry["faults"]] == ["inputs[0].url"]
        bulk = server.client.post("/tesp/v1/tasks:bulk", json={"tasks": [task]}).json()
        assert bulk["tasks"][0]["error"]["status_code"] == 400
    assert files.requests == []


def test_the_worker_asks_the_rules_again_where_a_server_sends_it(files: FileServer) -> None:
    files.moves["/moved"] = f"http://127.0.0.2:{files.port}/x"
    with TespServer(ONLY_BUBBLEWRAP | {LOCAL_NETWORKS: '@json ["127.0.0.1/32"]'}) as server:
        assert server.run(task_of(f"{files.url}/x"))["state"] == "COMPLETE"
        task = server.run(task_of(f"{files.url}/moved"))
        assert task["state"] == "SYSTEM_ERROR"
        said = task["logs"][0]["system_logs"][-1]
        assert (
            f"{files.url}/moved is redirected to http://127.0.0.2:{files.port}/x: 127.0.0.2 is a loopback"
            in said
        )
        assert "transfers.local_networks" in said
