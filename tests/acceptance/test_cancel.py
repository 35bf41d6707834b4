"""A cancel in every phase of a task, over each way to Pulsar that a file can be written to."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tesp_api.pulsar.processes import processes_in
from tests.services.gated_http import GatedHttp
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import FINAL, ONLY_BUBBLEWRAP, TespServer, poll

pytestmark = [pytest.mark.sampled(1), pytest.mark.services]

GONE_WITHIN_S = 20  # that it takes 5 at most is said in test_tasks.py


@dataclass
class World:
    """A server, the Pulsar elsewhere if there is one, and a web server for files."""

    server: TespServer
    pulsar: StockPulsar | None
    web: GatedHttp

    @property
    def staging(self) -> Path:
        return self.pulsar.staging if self.pulsar else self.server.data / "pulsar" / "staging"

    def events(self, task_id: str) -> list[str]:
        answer = self.server.client.get(f"/tesp/v1/tasks/{task_id}/events")
        return [event["event"] for event in answer.json()["events"]]

    def cancel(self, task_id: str) -> None:
        """It is CANCELING from the answer on, and to ask again changes nothing."""
        for _ in range(2):
            answer = self.server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel")
            assert (answer.status_code, answer.json()) == (200, {})
            assert self.server.get(task_id, "MINIMAL")["state"] in ("CANCELING", "CANCELED")

    def states(self, task_id: str) -> list[str]:
        """One after the other, each once."""
        history = self.server.client.get(f"/tesp/v1/tasks/{task_id}/history").json()["history"]
        return list(dict.fromkeys(entry["state"] for entry in history))

    def processes_of(self, task_id: str) -> list[Any]:
        return [one for job in self.staging.glob(f"{task_id}*") for one in processes_in(job)]

    def assert_canceled(self, task_id: str, timeout_s: float = GONE_WITHIN_S) -> dict[str, Any]:
        poll(lambda: not self.processes_of(task_id), timeout_s=timeout_s, why="it runs on after the cancel")
        task = self.server.wait(task_id, timeout_s=30)
        assert task["state"] == "CANCELED"
        assert self.states(task_id)[-2:] == ["CANCELING", "CANCELED"]
        poll(lambda: not list(self.staging.glob(f"{task_id}*")), timeout_s=10, why="the job's files stay")
        return task


@pytest.fixture(scope="module", params=["embedded", "rest"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    settings = ONLY_BUBBLEWRAP | {"TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": "20"}
    with ExitStack() as stack:
        pulsar = stack.enter_context(StockPulsar()) if request.param == "rest" else None
        if pulsar is not None:
            settings |= {
                "TESP_API_DESTINATIONS__LOCAL__KIND": "rest",
                "TESP_API_DESTINATIONS__LOCAL__URL": pulsar.url,
                "TESP_API_DESTINATIONS__LOCAL__PRIVATE_TOKEN": pulsar.private_token,
            }
        web = stack.enter_context(GatedHttp())
        web.held = {"/in", "/out"}
        yield World(stack.enter_context(TespServer(settings)), pulsar, web)


def sh(script: str) -> dict[str, Any]:
    return {"image": "busybox:latest", "command": ["sh", "-c", script]}


def test_before_the_job_began(world: World) -> None:
    task_id = world.server.create({"executors": [sh("sleep 600")]})
    world.cancel(task_id)
    task = world.assert_canceled(task_id)
    told = [line for log in task.get("logs", ()) for line in log.get("system_logs", ())]
    assert not [line for line in told if not line.startswith("created by request")], "it is told as a fault"


def test_while_inputs_are_fetched(world: World) -> None:
    task_id = world.server.create(
        {"inputs": [{"url": f"{world.web.url}/in", "path": "/in"}], "executors": [sh("sleep 600")]}
    )
    poll(lambda: "/in" in world.web.waiting, timeout_s=30, why="no input is asked for")
    world.cancel(task_id)
    assert world.assert_canceled(task_id)["logs"][0]["logs"] == []


def test_between_executors(world: World) -> None:
    task_id = world.server.create({"executors": [sh("sleep 0.05") for _ in range(200)]})
    poll(lambda: "executor_ended" in world.events(task_id), timeout_s=30, why="no executor ends")
    world.cancel(task_id)
    ended = world.assert_canceled(task_id)["logs"][0]["logs"]
    assert 0 < len(ended) < 200
    assert {entry["exit_code"] for entry in ended[:-1]} == {0}


def test_while_outputs_are_sent(world: World) -> None:
    task_id = world.server.create(
        {
            "executors": [sh("echo done > /out/file")],
            "outputs": [{"url": f"{world.web.url}/out", "path": "/out/file"}],
        }
    )
    poll(lambda: "/out" in world.web.waiting, timeout_s=30, why="no output is sent")
    world.cancel(task_id)
    assert [entry["exit_code"] for entry in world.assert_canceled(task_id)["logs"][0]["logs"]] == [0]


def test_against_the_end_one_of_the_two_wins(world: World) -> None:
    tasks = [world.server.create({"executors": [sh("true")]}) for _ in range(12)]
    for number, task_id in enumerate(tasks):  # each at another moment of its life
        states = {"INITIALIZING", "RUNNING", *FINAL} if number % 2 else FINAL | {"RUNNING"}
        world.server.wait(task_id, states=states)
        world.server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel").raise_for_status()
        told = world.server.get(task_id, "MINIMAL")["state"]
        end = world.server.wait(task_id)["state"]
        assert end == ("COMPLETE" if told == "COMPLETE" else "CANCELED")
        assert ("CANCELING" in world.states(task_id)) is (end == "CANCELED")
        assert not FINAL & set(world.states(task_id)[:-1])


def test_a_site_that_does_not_answer_hears_of_it_when_it_is_back(world: World) -> None:
    if world.pulsar is None:
        pytest.skip("an embedded Pulsar is where the server is")
    task_id = world.server.create({"executors": [sh("sleep 600")]})
    world.server.wait(task_id, states={"RUNNING"})
    world.pulsar.kill()
    try:
        world.cancel(task_id)
        poll(lambda: f"{task_id} waits" in world.server.log, timeout_s=30, why="the site is not asked")
        assert world.server.get(task_id, "MINIMAL")["state"] == "CANCELING"
        assert world.processes_of(task_id), "who killed it?"
    finally:
        world.pulsar.start()
    world.assert_canceled(task_id, timeout_s=30)
