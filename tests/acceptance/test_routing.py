"""Two real destinations, one in the server's process and one a stock Pulsar: where tasks go, and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import TespServer, poll

pytestmark = pytest.mark.services

HERE, CLUSTER = "TESP_API_DESTINATIONS__HERE__", "TESP_API_DESTINATIONS__CLUSTER__"


@dataclass
class World:
    """A server with the destinations `here` and `cluster`, and a gate that its tasks may wait for."""

    server: TespServer
    pulsar: StockPulsar
    folder: Path

    def task(self, *, gated: bool = False, to: str | None = None, **resources: Any) -> dict[str, Any]:
        script = f"while [ ! -e {self.folder}/open ]; do sleep 0.1; done" if gated else "echo done"
        if to:
            resources["backend_parameters"] = {"destination": to}
        gate = {"url": f"file://{self.folder}", "path": str(self.folder), "type": "DIRECTORY"}
        return {
            "inputs": [gate] if gated else [],
            "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
            "resources": resources,
        }

    def open(self) -> None:
        """Let all tasks that wait at the gate go on, and those to come."""
        (self.folder / "open").touch()

    def where(self, task_id: str) -> str:
        """Where the task has its job, once it has."""

        def found() -> str:
            lines = [line for line in self.reasons(task_id) if line.startswith("attempt 1 goes to ")]
            return lines[0].split()[4] if lines else ""

        return str(poll(found, timeout_s=30, why=f"{task_id} goes nowhere"))

    def reasons(self, task_id: str) -> list[str]:
        answer = self.server.client.get(f"/tesp/v1/tasks/{task_id}/history")
        assert answer.status_code == 200, answer.text
        return [entry["reason"] for entry in answer.json()["history"]]

    def says(self, task_id: str, reason: str) -> None:
        poll(
            lambda: f"waits: {reason}" in self.reasons(task_id),
            timeout_s=30,
            why=f"{task_id} does not say {reason!r}",
        )

    def ran(self, task_id: str) -> str:
        """Where the task ran, once it is COMPLETE."""
        task = self.server.wait(task_id)
        assert task["state"] == "COMPLETE", task
        return str(task["logs"][0]["metadata"]["destination"])

    def ready(self) -> dict[str, Any]:
        parts: dict[str, Any] = self.server.client.get("/readyz").json()["parts"]
        return parts


@pytest.fixture(scope="module")
def pulsar() -> Iterator[StockPulsar]:
    with StockPulsar() as pulsar:
        yield pulsar


@pytest.fixture
def world(pulsar: StockPulsar, tmp_path: Path) -> Iterator[World]:
    gate = tmp_path / "gate"
    gate.mkdir()
    common = {
        "RUNTIMES": "@json []",
        "ALLOW_BUBBLEWRAP": "true",
        "FILE_ROOTS": f'@json [{{"path": "{gate}", "mount": "ro"}}, {{"path": "/etc", "mount": "ro"}}]',
    }
    settings = {
        **{f"{prefix}{key}": value for prefix in (HERE, CLUSTER) for key, value in common.items()},
        f"{HERE}MAX_RUNNING": "2",
        f"{HERE}TASK_MAX_CORES": "2",
        f"{HERE}ZONES": '@json ["lab"]',
        f"{CLUSTER}KIND": "rest",
        f"{CLUSTER}URL": pulsar.url,
        f"{CLUSTER}PRIVATE_TOKEN": pulsar.private_token,
        f"{CLUSTER}MAX_RUNNING": "2",
        f"{CLUSTER}MAX_CORES": "8",
        f"{CLUSTER}TASK_MAX_RAM_GB": "4",
        f"{CLUSTER}ZONES": '@json ["eu-1", "eu-2"]',
        f"{CLUSTER}NEAR": '@json ["file:///etc"]',
        "TESP_API_SCHEDULER__HEARTBEAT_S": "1",
    }
    with TespServer(settings) as server:
        yield World(server, pulsar, gate)


def test_tasks_go_where_they_name_and_where_they_fit(world: World) -> None:
    create = world.server.create
    near = create(world.task() | {"inputs": [{"url": "file:///etc/passwd", "path": "/in"}]})
    assert world.ran(near) == "cluster"
    went = {
        "by name, here": create(world.task(to="here")),
        "by name, cluster": create(world.task(to="cluster")),
        "by cores": create(world.task(cpu_cores=3)),
        "by RAM": create(world.task(ram_gb=5)),
        "by zone": create(world.task(zones=["us-1", "eu-2"])),
    }
    ran = {why: world.ran(task_id) for why, task_id in went.items()}
    assert ran == {
        "by name, here": "here",
        "by name, cluster": "cluster",
        "by cores": "cluster",
        "by RAM": "here",
        "by zone": "cluster",
    }
    assert (
        "(here cannot take it: cpu_cores: 3 is more than the 2 that one task can have there)"
        in world.reasons(went["by cores"])[1]
    )
    assert "(nearer to its data than here)" in world.reasons(near)[1]
    assert "(the task names it)" in world.reasons(went["by name, here"])[1]


def test_tasks_spread_and_wait_when_both_are_full(world: World) -> None:
    running = [world.server.create(world.task(gated=True)) for _ in range(4)]
    assert sorted(world.where(task_id) for task_id in running) == ["cluster", "cluster", "here", "here"]
    waits = world.server.create(world.task(gated=True))
    world.says(waits, "here: all 2 places are taken; cluster: all 2 places are taken")
    assert world.server.get(waits, "MINIMAL")["state"] == "QUEUED"
    world.open()
    for task_id in (*running, waits):
        world.ran(task_id)
    assert sum(reason.startswith("waits:") for reason in world.reasons(waits)) == 1


def test_a_large_task_waits_for_cores_and_lets_small_ones_pass(world: World) -> None:
    first = world.server.create(world.task(gated=True, cpu_cores=5))
    assert world.where(first) == "cluster"
    large = world.server.create(world.task(cpu_cores=4))
    world.says(large, "cluster: 4 of its 8 cores must become free")
    assert world.ran(world.server.create(world.task(to="cluster"))) == "cluster"
    world.open()
    assert (world.ran(first), world.ran(large)) == ("cluster", "cluster")


def test_one_is_down_and_tasks_go_to_the_other(world: World) -> None:
    running = world.server.create(world.task(gated=True, to="cluster"))
    world.server.wait(running, states={"RUNNING"})
    world.pulsar.stop()
    try:
        assert [world.ran(world.server.create(world.task())) for _ in range(3)] == ["here"] * 3
        waits = world.server.create(world.task(to="cluster"))
        world.says(waits, "cluster: its Pulsar does not answer")
        assert "no new tasks are sent there" in world.ready()["pulsar cluster"]["error"]
        assert world.ready()["pulsar here"] == {"ok": True}
    finally:
        world.pulsar.start()
    world.open()
    assert world.ran(waits) == "cluster"
    assert world.ran(running) == "cluster"  # was there all the time
    assert world.ready()["pulsar cluster"] == {"ok": True}


def test_what_neither_can_take_is_refused(world: World) -> None:
    answer = world.server.client.post("/ga4gh/tes/v1/tasks", json=world.task(cpu_cores=3, ram_gb=5))
    assert answer.status_code == 400
    assert "here: cpu_cores: 3 is more than the 2 that one task can have there" in answer.text
    assert "cluster: ram_gb: 5 is more than the 4 that one task can have there" in answer.text
    answer = world.server.client.post("/ga4gh/tes/v1/tasks", json=world.task(to="moon"))
    assert answer.status_code == 400
    assert "there is no destination 'moon': there are here, cluster" in answer.text


def test_waiting_tasks_survive_a_kill_of_the_server(world: World) -> None:
    running = [world.server.create(world.task(gated=True)) for _ in range(4)]
    waits = world.server.create(world.task())
    world.says(waits, "here: all 2 places are taken; cluster: all 2 places are taken")
    world.server.kill()
    world.server.start()
    world.open()
    for task_id in (*running, waits):
        world.ran(task_id)
    assert sum(reason.startswith("attempt") for reason in world.reasons(waits)) == 1
