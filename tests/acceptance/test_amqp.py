"""Tasks on a Pulsar that only a message broker reaches: of workers that reach the server, or do not."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tesp_api.pulsar.processes import processes_in
from tests.services.gated_http import GatedHttp
from tests.services.pulsar_amqp import AmqpStockPulsar
from tests.services.rabbitmq import PASSWORD, RabbitMQ
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port, poll

pytestmark = [pytest.mark.sampled(2), pytest.mark.services]

PREFIX = "TESP_API_DESTINATIONS__LOCAL__"


@dataclass
class World:
    """A server, the Pulsar that it reaches through the broker, and a web server for files."""

    server: TespServer
    broker: RabbitMQ
    pulsar: AmqpStockPulsar
    web: GatedHttp

    def job_of(self, task_id: str) -> Path:
        return self.pulsar.staging / f"{task_id}-1"

    def log_of(self, task_id: str, offset: int = 0) -> str:
        """What is stored of the first executor's stdout from there on, or the first of it."""
        where = f"/tesp/v1/tasks/{task_id}/logs/0/stdout"
        return str(self.server.client.get(where, params={"offset": offset}).text)

    def assert_nothing_is_left_of(self, task_id: str) -> None:
        poll(
            lambda: not self.job_of(task_id).exists(), timeout_s=60, why="the job's directory is still there"
        )
        assert not list(processes_in(self.job_of(task_id)))


@pytest.fixture(scope="module")
def pulsar() -> Iterator[tuple[RabbitMQ, AmqpStockPulsar]]:
    with RabbitMQ() as broker, AmqpStockPulsar(broker) as pulsar:
        yield broker, pulsar


@pytest.fixture(params=["without a channel", "with a channel"])
def world(request: pytest.FixtureRequest, pulsar: tuple[RabbitMQ, AmqpStockPulsar]) -> Iterator[World]:
    broker, site = pulsar
    settings = {
        **ONLY_BUBBLEWRAP,
        f"{PREFIX}KIND": "amqp",
        f"{PREFIX}URL": broker.url,
        f"{PREFIX}MAX_RUNNING": "20",
        "TESP_API_SCHEDULER__HEARTBEAT_S": "2",
    }
    if request.param == "with a channel":
        port = free_port()
        settings |= {
            "TESP_API_CHANNEL__PORT": str(port),
            f"{PREFIX}CHANNEL_URL": f"http://127.0.0.1:{port}",
        }
    with ExitStack() as stack:
        web = stack.enter_context(GatedHttp())
        server = stack.enter_context(TespServer(settings))
        yield World(server, broker, site, web)
        assert PASSWORD not in server.log


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}], **more}


def stdout_of(task: dict[str, Any]) -> str:
    return str(task["logs"][-1]["logs"][0].get("stdout", ""))


def test_logs_outputs_and_exit_codes_come_home(world: World) -> None:
    world.web.files["/in"] = data = os.urandom(100_000)
    moved = {
        "inputs": [{"url": f"{world.web.url}/in", "path": "/data/in"}],
        "outputs": [{"url": f"{world.web.url}/out", "path": "/data/out"}],
    }
    good = world.server.create(
        sh("cp /data/in /data/out; echo said; echo cried >&2; printf '\\377'", **moved)
    )
    bad = world.server.create(sh("echo no; exit 3"))
    task = world.server.wait(good)
    assert task["state"] == "COMPLETE", task
    assert world.web.files["/out"] == data
    (log,) = task["logs"]
    assert (log["logs"][0]["stdout"], log["logs"][0]["stderr"]) == ("said\n\ufffd", "cried\n")
    assert log["logs"][0]["exit_code"] == 0
    assert [output["size_bytes"] for output in log["outputs"]] == ["100000"]
    failed = world.server.wait(bad)
    assert (failed["state"], failed["logs"][0]["logs"][0]["exit_code"]) == ("EXECUTOR_ERROR", 3)
    assert stdout_of(failed) == "no\n"
    told = world.server.client.get(f"/tesp/v1/tasks/{good}/events").json()["events"]
    assert [event["event"] for event in told if event["event"] != "message"] == [
        *("initializing", "executor_started", "executor_ended", "staging_out", "ended")
    ]
    for task_id in (good, bad):
        world.assert_nothing_is_left_of(task_id)


def test_a_running_task_shows_what_it_says_and_a_cancel_ends_it(world: World) -> None:
    task_id = world.server.create(sh("echo begun; sleep 600"))
    poll(
        lambda: "begun" in world.log_of(task_id),
        timeout_s=30,
        why=f"the log is not seen while the task runs\n{world.server.log[-3000:]}",
    )
    assert world.server.get(task_id)["state"] == "RUNNING"
    asked_at = time.monotonic()
    world.server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel")
    task = world.server.wait(task_id)
    assert task["state"] == "CANCELED"
    assert time.monotonic() - asked_at < 15
    assert stdout_of(task) == "begun\n"
    world.assert_nothing_is_left_of(task_id)


def test_a_long_log_comes_whole(world: World) -> None:
    task = world.server.run(sh("seq 1 300000"), timeout_s=90)
    assert task["state"] == "COMPLETE", task
    written = ""
    while part := world.log_of(task["id"], offset=len(written)):
        written += part
    assert written == "".join(f"{number}\n" for number in range(1, 300001))


@pytest.mark.parametrize("what", ["broker", "pulsar", "server"])
def test_no_task_is_lost_when_something_is_killed_in_the_middle(
    world: World, what: str, tmp_path: Path
) -> None:
    gate = world.web
    gate.files = {f"/{number}": b"x" for number in range(3)}
    gate.held = {"/0", "/1"}
    held = [
        world.server.create(sh("echo once", inputs=[{"url": f"{gate.url}/{number}", "path": "/in"}]))
        for number in (0, 1)
    ]
    poll(lambda: gate.waiting == gate.held, timeout_s=30, why="no task is staging")
    if what == "broker":
        world.broker.kill()
        late = world.server.create(sh("echo once"))
        gate.open_gate()
        world.broker.start()
    elif what == "pulsar":
        world.pulsar.kill()
        late = world.server.create(sh("echo once"))
        gate.open_gate()
        world.pulsar.start()
    else:
        late = world.server.create(sh("echo once"))
        world.server.kill()
        gate.open_gate()
        world.server.start()
    for task_id in (*held, late):
        ended = world.server.wait(task_id, timeout_s=120)
        assert (ended["state"], len(ended["logs"]), stdout_of(ended)) == ("COMPLETE", 1, "once\n"), ended
        world.assert_nothing_is_left_of(task_id)


PYTHON_WITHOUT_SLOTS = """#!/bin/sh
case "$*" in *probe.py*) while [ -e {taken} ]; do sleep 0.1; done;; esac
exec {python} "$@"
"""


def test_a_cancel_needs_no_free_slot(pulsar: tuple[RabbitMQ, AmqpStockPulsar], tmp_path: Path) -> None:
    """Where others have them all, the tiny jobs that look after a task wait; here for a file to go."""
    broker, site = pulsar
    taken, python = tmp_path / "taken", tmp_path / "python3"
    python.write_text(PYTHON_WITHOUT_SLOTS.format(taken=taken, python=sys.executable))
    python.chmod(0o755)
    settings = {
        **ONLY_BUBBLEWRAP,
        f"{PREFIX}KIND": "amqp",
        f"{PREFIX}URL": broker.url,
        f"{PREFIX}PYTHON": str(python),
    }
    with GatedHttp() as web, TespServer(settings) as server:
        world = World(server, broker, site, web)
        running = server.create(sh("echo begun; sleep 600"))
        poll(lambda: server.get(running)["state"] == "RUNNING", timeout_s=30, why="it does not run")
        taken.touch()
        queued = server.create(sh("sleep 600", resources={"backend_parameters": {"queued_s": "5"}}))
        server.client.post(f"/ga4gh/tes/v1/tasks/{running}:cancel")
        assert server.wait(running, timeout_s=60)["state"] == "CANCELED"
        overdue = server.wait(queued, timeout_s=60)
        assert overdue["state"] == "SYSTEM_ERROR"
        assert "queued_s = 5" in str(overdue["logs"][0]["system_logs"])
        jobs = [world.job_of(task_id) for task_id in (running, queued)]
        poll(lambda: not any(list(processes_in(job)) for job in jobs), timeout_s=10, why="it was not killed")
        taken.unlink()
        for task_id in (running, queued):
            world.assert_nothing_is_left_of(task_id)
