"""Two servers on one MongoDB, each with an embedded Pulsar that the other one does not reach."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.services.gated_http import GatedHttp
from tests.services.mongod import Mongod
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer, free_port, poll

pytestmark = pytest.mark.services


class Place:
    """A database, a web server, and a folder that all tasks share."""

    def __init__(self, stack: ExitStack, folder: Path, mongod: Mongod) -> None:
        database = f"embedded_{os.getpid()}_{free_port()}"
        stack.callback(mongod.drop, database)
        self.web = stack.enter_context(GatedHttp())
        self.folder, self.shared = folder, folder / "shared"
        self.shared.mkdir()
        self.settings = ONLY_BUBBLEWRAP | {
            "TESP_API_STORE__URL": mongod.url,
            "TESP_API_STORE__DATABASE": database,
            "TESP_API_SECRET_KEY": "0123456789" * 4,
            "TESP_API_RETRIES__PAUSE_S": "0.1",
            "TESP_API_DESTINATIONS__LOCAL__FILE_ROOTS": f'@json [{{"path": "{self.shared}", "mount": "rw"}}]',
        }

    def server(self, name: str, **scheduler: str) -> TespServer:
        """A server whose data folder has this name; its scheduler's settings on top."""
        more = {f"TESP_API_SCHEDULER__{key.upper()}": value for key, value in scheduler.items()}
        return TespServer(self.settings | more, data=self.folder / name)

    def task(self, name: str, *inputs: dict[str, str]) -> dict[str, Any]:
        script = f"echo ran >> /shared/{name}; while [ ! -e /shared/go ]; do sleep 0.05; done; echo x > /out"
        shared = {"url": f"file://{self.shared}", "path": "/shared", "type": "DIRECTORY"}
        return {
            "inputs": [shared, *inputs],
            "outputs": [{"url": f"{self.web.url}/{name}", "path": "/out"}],
            "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
        }

    def runs(self, name: str) -> int:
        """How often the task has begun."""
        file = self.shared / name
        return len(file.read_text().splitlines()) if file.exists() else 0

    def jobs(self, name: str) -> list[str]:
        """The job directories in the Pulsar of a server."""
        return sorted(job.name for job in (self.folder / name / "pulsar" / "staging").iterdir())

    def until_begun(self, server: TespServer, *names: str) -> None:
        poll(lambda: all(map(self.runs, names)), timeout_s=60, why=f"they do not run\n{server.log}")


@pytest.fixture
def place(tmp_path: Path, mongod: Mongod) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack, tmp_path, mongod)


def test_a_server_that_comes_back_takes_up_its_own_tasks_at_once(place: Place) -> None:
    """Its lease would last for five minutes; the lock on its folder proves that nobody holds it any more."""
    with place.server("one", lease_s="300") as one, place.server("two", lease_s="300") as two:
        task_id = one.create(place.task("a"))
        place.until_begun(one, "a")
        one.wait(task_id, states={"RUNNING"})
        one.kill()
        assert two.get(task_id)["state"] == "RUNNING"
        one.start()
        (place.shared / "go").touch()
        task = two.wait(task_id)
        assert (task["state"], len(task["logs"]), place.runs("a")) == ("COMPLETE", 1, 1), one.log
        assert place.web.files["/a"] == b"x\n"


def test_a_cancel_that_another_server_was_asked_for_is_obeyed_at_once(place: Place) -> None:
    with place.server("one", lease_s="300") as one, place.server("two", lease_s="300") as two:
        task_id = one.create(place.task("a"))
        place.until_begun(one, "a")
        two.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel")
        poll(lambda: two.get(task_id)["state"] == "CANCELED", timeout_s=10, why=f"it runs on\n{one.log}")
        assert place.web.puts == []


def test_what_a_server_leaves_behind_is_ended_by_another_and_removed_when_it_is_back(place: Place) -> None:
    place.web.files["/in"], place.web.held = b"in", {"/in"}
    timing = {"lease_s": "3", "embedded_away_s": "4"}
    with place.server("one", **timing) as one:
        ids = {name: one.create(place.task(name)) for name in ("running", "canceled")}
        place.until_begun(one, *ids)
        ids["fetching"] = one.create(place.task("fetching", {"url": f"{place.web.url}/in", "path": "/in"}))
        poll(lambda: place.web.waiting, timeout_s=60, why=f"it does not fetch\n{one.log}")
        with place.server("two", **timing) as two:
            one.kill()
            two.client.post(f"/ga4gh/tes/v1/tasks/{ids['canceled']}:cancel")
            assert two.get(ids["canceled"])["state"] == "CANCELING"

            lost = two.wait(ids["running"])
            assert (lost["state"], lost["logs"][0]["metadata"]["cause"]) == ("SYSTEM_ERROR", "lost")
            assert "a server that has been away" in lost["logs"][0]["system_logs"][-1]
            assert two.wait(ids["canceled"])["state"] == "CANCELED"

            place.web.open_gate()  # both workers that fetch go on, but only the later one may start
            place.until_begun(two, "fetching")
            (place.shared / "go").touch()
            task = two.wait(ids["fetching"])
            assert (task["state"], place.runs("fetching")) == ("COMPLETE", 1), task["logs"]
            assert [log["metadata"].get("cause") for log in task["logs"]] == ["never_started", None]
            assert task["logs"][0]["metadata"]["job_id"] in place.jobs("one")

            one.start()
            poll(lambda: not place.jobs("one"), timeout_s=60, why=f"{place.jobs('one')}\n{one.log}")
            assert {name: place.runs(name) for name in ids} == dict.fromkeys(ids, 1)
            assert set(place.web.files) == {"/in", "/fetching"}, "who was given up sends nothing"
            assert place.web.puts == ["/fetching"]
            assert two.get(ids["running"])["state"] == "SYSTEM_ERROR"
