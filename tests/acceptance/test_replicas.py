"""Two servers on one MongoDB and one stock Pulsar: whatever happens to one, each task runs and ends once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.services.balancer import Balancer
from tests.services.gated_http import GatedHttp
from tests.services.mongod import Mongod
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port, poll

pytestmark = pytest.mark.services

PREFIX = "TESP_API_DESTINATIONS__LOCAL__"
STALLING = "tests.acceptance.stalling_app:app"


class Site:
    """A Pulsar, a database, and servers that share both, behind a balancer for their channels."""

    def __init__(self, stack: ExitStack, folder: Path, mongod: Mongod) -> None:
        self.database = f"replicas_{os.getpid()}_{free_port()}"
        stack.callback(mongod.drop, self.database)
        self.pulsar = stack.enter_context(StockPulsar())
        self.balancer = stack.enter_context(Balancer())
        self.web = stack.enter_context(GatedHttp())
        self.client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(mongod.url))
        self.stalled, self.shared = folder / "stalled", folder / "shared"
        self.stalled.mkdir()
        self.shared.mkdir(mode=0o777)
        self.settings = ONLY_BUBBLEWRAP | {
            "STALLED_DIR": str(self.stalled),
            "TESP_API_STORE__URL": mongod.url,
            "TESP_API_STORE__DATABASE": self.database,
            "TESP_API_SECRET_KEY": "0123456789" * 4,
            "TESP_API_CHANNEL__URL": f"http://127.0.0.1:{self.balancer.port}",
            "TESP_API_SCHEDULER__LEASE_S": "4",
            "TESP_API_SCHEDULER__HEARTBEAT_S": "1",
            "TESP_API_SCHEDULER__LOST_AFTER_S": "6",
            "TESP_API_SCHEDULER__POLL_MAX_S": "0.5",
            f"{PREFIX}KIND": "rest",
            f"{PREFIX}URL": self.pulsar.url,
            f"{PREFIX}PRIVATE_TOKEN": self.pulsar.private_token,
            f"{PREFIX}MAX_RUNNING": "8",
            f"{PREFIX}FILE_ROOTS": f'@json [{{"path": "{self.shared}", "mount": "rw"}}]',
        }

    def server(self, app: str = "tesp_api.tesp_api:app") -> TespServer:
        """One more server, not started."""
        port = free_port()
        self.balancer.ports.append(port)
        return TespServer(self.settings | {"TESP_API_CHANNEL__PORT": str(port)}, app=app)

    def task(self, name: str, stall: str = "") -> dict[str, Any]:
        """A task that adds a line to a file of its own, goes on when it may, and sends an output."""
        wait = f"while [ ! -e /shared/go-{name} ]; do sleep 0.05; done"
        return {
            "name": name,
            "tags": {"stall": stall},
            "inputs": [{"url": f"file://{self.shared}", "path": "/shared", "type": "DIRECTORY"}],
            "outputs": [{"url": f"{self.web.url}/{name}", "path": "/out"}],
            "executors": [
                {
                    "image": "busybox:latest",
                    "command": ["sh", "-c", f"echo ran >> /shared/{name}; {wait}; echo {name} > /out"],
                }
            ],
        }

    def go(self, *names: str) -> None:
        for name in names:
            (self.shared / f"go-{name}").touch()

    def runs(self, name: str) -> bool:
        return (self.shared / name).exists()

    def holders(self, *ids: str) -> set[int | None]:
        """The process ids of the servers that hold these tasks."""
        found = self.client[self.database].tasks.find({"_id": {"$in": ids}}, {"claim": 1})
        owners = [one.get("claim", {}).get("owner") for one in found]
        return {int(owner.split(":")[1]) if owner else None for owner in owners}

    def is_driven_by(self, server: TespServer, task_id: str) -> bool:
        """Whether the server holds the task, or did so until it was retired."""
        return self.holders(task_id) <= {pid_of(server), None}

    def assert_ran_once(self, server: TespServer, **ids: str) -> None:
        for name, task_id in ids.items():
            task = server.wait(task_id, timeout_s=90)
            assert (task["state"], len(task["logs"])) == ("COMPLETE", 1), (name, task["logs"], server.log)
            assert (self.shared / name).read_text() == "ran\n", f"{name} did not run exactly once"
            assert self.web.files[f"/{name}"] == f"{name}\n".encode()
            assert self.web.puts.count(f"/{name}") == 1, "its output was sent again"
        poll(self.is_clean, timeout_s=60, why=f"left behind: {list(self.pulsar.staging.iterdir())}")

    def is_clean(self) -> bool:
        return not list(self.pulsar.staging.iterdir())


@pytest.fixture
def site(tmp_path: Path, mongod: Mongod) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path, mongod)


def pid_of(server: TespServer) -> int:
    assert server.process is not None
    return server.process.pid


def has_lost(server: TespServer, task_id: str) -> bool:
    """Whether a server knows that it does not drive the task any more."""
    ends = ("is no longer ours", "is no longer claimed by us")
    return any(f"task {task_id} {end}" in server.log for end in ends)


def history(server: TespServer, task_id: str) -> Any:
    return server.client.get(f"/tesp/v1/tasks/{task_id}/history").json()


def test_a_server_that_stands_still_or_dies_loses_its_tasks_to_the_other(site: Site) -> None:
    names = [f"stopped-{number}" for number in range(4)]
    with site.server() as one:
        ids = {name: one.create(site.task(name)) for name in names}
        poll(lambda: all(map(site.runs, names)), timeout_s=60, why=f"they do not run\n{one.log}")
        with site.server() as two:
            os.kill(pid_of(one), signal.SIGSTOP)
            site.balancer.ports.reverse()
            poll(lambda: site.holders(*ids.values()) == {pid_of(two)}, timeout_s=60, why=two.log)
            os.kill(pid_of(one), signal.SIGCONT)  # its last look at the jobs is longer ago than lost_after_s
            for task_id in ids.values():
                poll(partial(has_lost, one, task_id), timeout_s=60, why=f"it drives {task_id}\n{one.log}")
            site.go(*names)
            site.assert_ran_once(one, **ids)

            site.balancer.ports.reverse()
            more = {name: two.create(site.task(name)) for name in ("killed-0", "killed-1", "killed-2")}
            poll(lambda: all(map(site.runs, more)), timeout_s=60, why=f"they do not run\n{two.log}")
            two.kill()
            site.go(*more)
            site.assert_ran_once(one, **more)


def after_the_end(site: Site, server: TespServer, name: str, task_id: str) -> None:
    """The other server takes the task to its end while the first stands still."""
    site.go(name)
    server.wait(task_id, timeout_s=60)
    poll(site.is_clean, timeout_s=60, why=server.log)


def while_it_runs(site: Site, server: TespServer, name: str, task_id: str) -> None:
    """The other server drives the task, whose executor runs, and which both see in the same state."""
    server.wait(task_id, states={"RUNNING"}, timeout_s=60)
    poll(lambda: site.runs(name), timeout_s=60, why="it does not run")


Meanwhile = Callable[[Site, TespServer, str, str], None]
POINTS: dict[str, tuple[str, Meanwhile]] = {
    "before-launch": ("before:launch", after_the_end),
    "within-launch": ("within:launch:submit", after_the_end),
    "running": ("after:transition:RUNNING", while_it_runs),
    "ending": ("before:transition:COMPLETE", after_the_end),
    "cleaning": ("before:clean", after_the_end),
}


def test_a_server_that_stood_still_at_any_step_wakes_and_does_no_harm(site: Site) -> None:
    """In the worst place: it goes on with just what it was about to do."""
    with site.server(STALLING) as sleeper, site.server() as other:
        for name, (point, meanwhile) in POINTS.items():
            os.kill(pid_of(other), signal.SIGSTOP)
            task_id = sleeper.create(site.task(name, f"freeze:{point}"))
            if meanwhile is after_the_end and not point.endswith(("launch", "submit")):
                site.go(name)
            stalled = site.stalled / f"freeze:{point}"
            poll(stalled.exists, timeout_s=60, why=f"it does not come to {point}\n{sleeper.log}")
            os.kill(pid_of(other), signal.SIGCONT)
            site.balancer.ports.reverse()
            poll(partial(site.is_driven_by, other, task_id), timeout_s=60, why=other.log)
            meanwhile(site, other, name, task_id)
            before = history(other, task_id)
            (site.stalled / "go_on").touch()
            poll(partial(has_lost, sleeper, task_id), timeout_s=60, why=f"it drives {name}\n{sleeper.log}")
            assert history(other, task_id) == before, name
            site.go(name)
            site.assert_ran_once(other, **{name: task_id})
            site.balancer.ports.reverse()
            (site.stalled / "go_on").unlink()
