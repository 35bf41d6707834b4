"""Workers that reach the channel say by themselves what is new: the server hardly looks on its own here."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port, poll

pytestmark = pytest.mark.services

PREFIX = "TESP_API_DESTINATIONS__LOCAL__"
NEVER_S = "300"


@pytest.fixture
def server() -> Iterator[TespServer]:
    with ExitStack() as stack:
        pulsar = stack.enter_context(StockPulsar())
        port = free_port()
        settings = {
            **ONLY_BUBBLEWRAP,
            f"{PREFIX}KIND": "rest",
            f"{PREFIX}URL": pulsar.url,
            f"{PREFIX}PRIVATE_TOKEN": pulsar.private_token,
            "TESP_API_CHANNEL__PORT": str(port),
            "TESP_API_CHANNEL__URL": f"http://127.0.0.1:{port}",
            "TESP_API_SCHEDULER__POLL_MIN_S": NEVER_S,
            "TESP_API_SCHEDULER__POLL_MAX_S": NEVER_S,
        }
        yield stack.enter_context(TespServer(settings))


def _task(script: str) -> dict[str, object]:
    return {"executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}]}


def test_states_and_logs_are_seen_because_the_worker_tells_of_them(server: TespServer) -> None:
    task_id = server.create(_task("echo begun; sleep 4; echo done"))
    log = f"/tesp/v1/tasks/{task_id}/logs/0/stdout"
    server.wait(task_id, states={"RUNNING"})
    poll(lambda: "begun" in server.client.get(log).text, timeout_s=30, why="the log is not seen to grow")
    task = server.wait(task_id)
    assert task["state"] == "COMPLETE"
    assert task["logs"][0]["logs"][0]["stdout"] == "begun\ndone\n"
    assert "refused" not in server.log


def test_a_server_that_was_killed_is_told_on(server: TespServer) -> None:
    task_id = server.create(_task("echo begun; sleep 6; echo done"))
    server.wait(task_id, states={"RUNNING"})
    server.kill()
    server.start()
    began_at = time.monotonic()
    task = server.wait(task_id, timeout_s=60)
    assert (task["state"], task["logs"][0]["logs"][0]["stdout"]) == ("COMPLETE", "begun\ndone\n")
    assert time.monotonic() - began_at < 60
