"""The whole server on MongoDB: what happens to tasks and to clients while the database is away."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.servers import environment_of
from tests.services.mongod import Mongod
from tests.services.tesp import TespServer, poll

pytestmark = [pytest.mark.sampled(2), pytest.mark.services]

ANSWER_WITHIN_S = 12.0
OUTAGES = {"alone": ("kill", "pause"), "replica-set": ("kill", "stop")}
EVERY_OUTAGE = [(server, outage) for server, outages in OUTAGES.items() for outage in outages]


@pytest.fixture
def server_kind() -> str:
    """Which MongoDB; tests say otherwise."""
    return "alone"


@pytest.fixture
def mongod(server_kind: str) -> Iterator[Mongod]:
    with Mongod(replica_set=server_kind == "replica-set") as running:
        yield running


@pytest.fixture
def environment(mongod: Mongod, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server on MongoDB with a shared folder for tasks to leave their mark in."""
    (tmp_path / "shared").mkdir()
    with environment_of("embedded-bubblewrap", roots={tmp_path / "shared": "rw"}) as settings:
        yield settings | {
            "TESP_API_STORE__URL": mongod.url,
            "TESP_API_SCHEDULER__LEASE_S": "5",
            "TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": "8",
        }


def a_task(name: str, shared: Path, *, waits: bool = False) -> dict[str, Any]:
    """A task that adds a line to a file of its own, and with `waits` goes on when it may."""
    wait = "while [ ! -e /shared/go_on ]; do sleep 0.05; done; " if waits else ""
    script = f'echo ran >> "/shared/{name}"; echo before {name}; {wait}echo after {name}'
    return {
        "name": name,
        "inputs": [{"url": f"file://{shared}", "path": "/shared", "type": "DIRECTORY"}],
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
    }


def begin_outage(mongod: Mongod, outage: str) -> None:
    {"kill": mongod.kill, "pause": mongod.pause, "stop": mongod.stop}[outage]()


def end_outage(mongod: Mongod, outage: str) -> None:
    mongod.resume() if outage == "pause" else mongod.start()


def assert_says_try_again(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.elapsed.total_seconds() < ANSWER_WITHIN_S


def assert_refuses_everything(server: TespServer, task_id: str, task: dict[str, Any]) -> None:
    """Every request is answered in time, also beside others; the server says what is wrong with it."""
    path = f"/ga4gh/tes/v1/tasks/{task_id}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("GET", f"{path}?view=FULL", None),
        ("GET", "/ga4gh/tes/v1/tasks", None),
        # Of another task: a cancel may still take effect when the database is back, which is no harm.
        ("POST", "/ga4gh/tes/v1/tasks/another:cancel", None),
        ("POST", "/ga4gh/tes/v1/tasks", task),
        ("GET", f"/tesp/v1/tasks/{task_id}/history", None),
    ]
    with ThreadPoolExecutor(len(asked) + 2) as pool:
        answers = [pool.submit(server.client.request, *each[:2], json=each[2]) for each in asked]
        ready = pool.submit(server.client.get, "/readyz").result()
        assert ready.status_code == 503
        assert ready.json()["parts"]["store"]["ok"] is False
        assert server.client.get("/healthz").status_code == 200
        for answer in answers:
            assert_says_try_again(answer.result())


@pytest.mark.parametrize(("server_kind", "outage"), EVERY_OUTAGE)
def test_running_tasks_go_on_without_the_database_and_are_caught_up_with(
    environment: dict[str, str], mongod: Mongod, tmp_path: Path, outage: str
) -> None:
    shared = tmp_path / "shared"
    names = [f"task-{number}" for number in range(4)]
    with TespServer(environment) as server:
        ids = {name: server.create(a_task(name, shared, waits=True)) for name in names}
        for name, task_id in ids.items():
            server.wait(task_id, states={"RUNNING"})
            poll((shared / name).exists, timeout_s=30, why=f"{name} does not run\n{server.log}")
        begin_outage(mongod, outage)
        try:
            assert_refuses_everything(server, ids[names[0]], a_task("x", shared))
            (shared / "go_on").touch()  # they end while nobody can write it down
        finally:
            end_outage(mongod, outage)
        tasks = {name: server.wait(task_id) for name, task_id in ids.items()}

        def listed() -> set[str]:
            return {task["id"] for task in server.client.get("/ga4gh/tes/v1/tasks").json()["tasks"]}

        # what was refused may turn up late, and is removed before the server claims anything anew
        poll(lambda: listed() == set(ids.values()), timeout_s=10, why="what was refused is still there")
    assert {task["state"] for task in tasks.values()} == {"COMPLETE"}
    for name, task in tasks.items():
        assert (shared / name).read_text() == "ran\n"
        assert [log["logs"][0]["stdout"] for log in task["logs"]] == [f"before {name}\nafter {name}\n"]
    assert not (shared / "x").exists()


class Client(threading.Thread):
    """Creates task after task until told to stop, and notes every answer."""

    def __init__(self, number: int, url: str, shared: Path, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number, self.url, self.shared, self.over = number, url, shared, over
        self.created: dict[str, str] = {}
        self.refused: list[httpx.Response] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            for turn in range(10_000):
                if self.over.is_set():
                    return
                name = f"client-{self.number}-{turn}"
                answer = client.post("/ga4gh/tes/v1/tasks", json=a_task(name, self.shared))
                if answer.status_code == 200:
                    self.created[name] = answer.json()["id"]
                else:
                    self.refused.append(answer)
                time.sleep(0.2)  # each task that is created has to run


def create_through(server: TespServer, mongod: Mongod, outage: str, shared: Path) -> list[Client]:
    """Clients that have created tasks before, during and after an outage, now at rest."""
    over = threading.Event()
    clients = [Client(number, server.url, shared, over) for number in range(4)]
    for client in clients:
        client.start()

    def created() -> int:
        return sum(len(client.created) for client in clients)

    poll(lambda: created() >= 20, timeout_s=30, why=f"no tasks are created\n{server.log}")
    begin_outage(mongod, outage)
    try:
        poll(lambda: any(client.refused for client in clients), timeout_s=30, why="nothing is refused")
    finally:
        end_outage(mongod, outage)
    before = created()
    poll(lambda: created() >= before + 10, timeout_s=60, why=f"no recovery\n{server.log}")
    over.set()
    for client in clients:
        client.join(timeout=60)
    return clients


@pytest.mark.parametrize(("server_kind", "outage"), EVERY_OUTAGE)
def test_what_was_acknowledged_runs_once_and_what_was_refused_never(
    environment: dict[str, str], mongod: Mongod, tmp_path: Path, outage: str
) -> None:
    shared = tmp_path / "shared"
    with TespServer(environment) as server:
        clients = create_through(server, mongod, outage, shared)
        acknowledged = {name: task_id for client in clients for name, task_id in client.created.items()}
        states = {server.wait(task_id, timeout_s=120)["state"] for task_id in acknowledged.values()}
        listed = server.client.get("/ga4gh/tes/v1/tasks", params={"page_size": 2047}).json()["tasks"]
    assert states == {"COMPLETE"}
    assert {task["id"] for task in listed} == set(acknowledged.values())
    assert {path.name: path.read_text() for path in shared.iterdir()} == dict.fromkeys(acknowledged, "ran\n")
    for client in clients:
        for answer in client.refused:
            assert_says_try_again(answer)


def test_server_and_database_are_killed_together(
    environment: dict[str, str], mongod: Mongod, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    names = [f"task-{number}" for number in range(12)]  # more than may run at one time
    with TespServer(environment, data=tmp_path / "data") as first:
        ids = {name: first.create(a_task(name, shared, waits=True)) for name in names}
        poll(lambda: len(list(shared.iterdir())) == 8, timeout_s=60, why=f"they do not run\n{first.log}")
        first.kill()
        mongod.kill()
    mongod.start()
    (shared / "go_on").touch()
    with TespServer(environment, data=tmp_path / "data") as second:
        tasks = {name: second.wait(task_id, timeout_s=90) for name, task_id in ids.items()}
    assert {task["state"] for task in tasks.values()} == {"COMPLETE"}
    assert {name: (shared / name).read_text() for name in names} == dict.fromkeys(names, "ran\n")


def test_two_servers_on_one_database_share_the_work_and_do_not_disturb_each_other(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Each has its own embedded Pulsar, so both stay alive here; either answers for all tasks."""
    shared = tmp_path / "shared"
    names = [f"task-{number}" for number in range(16)]
    limit = {"TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": "4"}
    with TespServer(environment | limit) as one, TespServer(environment | limit) as two:
        sleeper = one.create(a_task("sleeper", shared, waits=True))
        one.wait(sleeper, states={"RUNNING"})
        assert two.client.post(f"/ga4gh/tes/v1/tasks/{sleeper}:cancel").status_code == 200
        assert one.wait(sleeper)["state"] == "CANCELED"
        (shared / "go_on").touch()
        ids = {name: (one, two)[turn % 2].create(a_task(name, shared)) for turn, name in enumerate(names)}
        tasks = {name: (two, one)[turn % 2].wait(ids[name]) for turn, name in enumerate(names)}
        assert one.get(sleeper) == two.get(sleeper)
    assert {task["state"] for task in tasks.values()} == {"COMPLETE"}
    assert {name: (shared / name).read_text() for name in names} == dict.fromkeys(names, "ran\n")
    assert all(len(task["logs"]) == 1 for task in tasks.values())
