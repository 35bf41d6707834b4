"""What a container writes is on the screen as it is written, whatever happens to the server meanwhile."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tesp_api.cli.client import TespClient
from tesp_api.cli.event_stream import events
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port, poll

pytestmark = pytest.mark.services

LINES = 120
REPOSITORY = Path(__file__).parents[2]


def counting(lines: int, pause_s: float) -> dict[str, object]:
    script = f"for i in $(seq {lines}); do echo line $i; sleep {pause_s}; done"
    return {"executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}]}


def test_followed_logs_go_on_after_the_server_was_killed(tmp_path: Path) -> None:
    def has_printed(line: str) -> bool:
        return line in (tmp_path / "out").read_text()

    with TespServer(ONLY_BUBBLEWRAP) as server:
        task_id = server.create(counting(LINES, 0.1))
        program = "from tesp_api.cli.main import app; app(prog_name='tesp')"
        with (tmp_path / "out").open("wb") as out:
            follower = subprocess.Popen(
                [sys.executable, "-c", program, "task", "logs", task_id, "--follow", "--url", server.url],
                stdout=out,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            )
        try:
            for after in (10, 60):
                poll(partial(has_printed, f"line {after}\n"), timeout_s=90, why=f"no line {after}")
                server.kill()
                server.start()
            assert follower.wait(120) == 0
        finally:
            follower.kill()
            follower.wait()
    expected = "".join(f"line {number}\n" for number in range(1, LINES + 1))
    assert (tmp_path / "out").read_text() == expected


def test_workers_report_what_is_written_at_once() -> None:
    """A Pulsar that is asked for news every five minutes; the worker's channel brings them."""
    port = free_port()
    prefix = "TESP_API_DESTINATIONS__LOCAL__"
    with StockPulsar() as pulsar:
        environment = {
            **ONLY_BUBBLEWRAP,
            f"{prefix}KIND": "rest",
            f"{prefix}URL": pulsar.url,
            f"{prefix}PRIVATE_TOKEN": pulsar.private_token,
            "TESP_API_CHANNEL__PORT": str(port),
            "TESP_API_CHANNEL__URL": f"http://127.0.0.1:{port}",
            "TESP_API_SCHEDULER__POLL_MIN_S": "300",
            "TESP_API_SCHEDULER__POLL_MAX_S": "300",
        }
        with TespServer(environment) as server, TespClient(server.url) as client:
            task_id = server.create(counting(2, 4))
            seen: list[str] = []
            for event in events(client, f"/tesp/v1/tasks/{task_id}/events"):
                seen.append(event.data.get("event") or event.data.get("text") or event.name)
                if event.name == "log":  # long before the executor ends
                    assert server.get(task_id, "MINIMAL")["state"] == "RUNNING"
            assert "executor_started" in seen and seen.index("line 1\n") < seen.index("executor_ended")
            assert seen[-1] == "end"
