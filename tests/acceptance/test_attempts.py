"""Attempts that fail at a real site: preempted, without their input, too slow, without room."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import environment_of
from tests.services.containers import require_docker
from tests.services.tesp import ONLY_DOCKER, TespServer, poll

pytestmark = [pytest.mark.sampled(1), pytest.mark.services]

WAITING = "echo ran >> /shared/ran; while [ ! -e /shared/go_on ]; do sleep 0.1; done"


@pytest.fixture(params=("embedded-bubblewrap", "rest-docker"))
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "shared").mkdir(mode=0o777)
    with environment_of(request.param, roots={tmp_path / "shared": "rw"}) as settings:
        yield settings | {"TESP_API_RETRIES__PAUSE_S": "0.2"}


def task(script: str, shared: Path, **resources: Any) -> dict[str, Any]:
    return {
        "inputs": [{"url": f"file://{shared}", "path": "/shared", "type": "DIRECTORY"}],
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
        "resources": resources,
    }


def worker_of(job_id: str) -> int | None:
    """The process of a job's worker on this machine, if there is one now; its watchdog has left the job."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            place = f"{(process / 'cwd').readlink()} {command}"
        except OSError:
            continue
        if b"python" in command[0] and "worker.pyz" in place and job_id in place:
            return int(process.name)
    return None


def end_worker(server: TespServer, task_id: str, attempt: int, shared: Path) -> None:
    """SIGTERM, as a scheduler that preempts a job sends it, once an executor runs."""
    poll(
        lambda: runs_of(shared) == attempt, timeout_s=60, why=f"attempt {attempt} does not run\n{server.log}"
    )
    pid = poll(lambda: worker_of(f"{task_id}-{attempt}"), timeout_s=10, why="the worker is not found")
    os.kill(pid, signal.SIGTERM)


def runs_of(shared: Path) -> int:
    ran = shared / "ran"
    return len(ran.read_text().splitlines()) if ran.exists() else 0


def test_a_preempted_task_runs_once_more(environment: dict[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with TespServer(environment) as server:
        task_id = server.create(task(WAITING, shared, preemptible=True))
        end_worker(server, task_id, 1, shared)
        poll(lambda: runs_of(shared) == 2, timeout_s=60, why=f"no second attempt\n{server.log}")
        (shared / "go_on").touch()
        ended = server.wait(task_id)
    assert (ended["state"], len(ended["logs"]), runs_of(shared)) == ("COMPLETE", 2, 2)
    first, second = ended["logs"]
    assert any("SIGTERM" in line for line in first["system_logs"])
    assert first["metadata"]["cause"] == "preempted"
    assert [log["exit_code"] for log in second["logs"]] == [0]


def test_a_task_that_is_preempted_for_good(environment: dict[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with TespServer(environment) as server:
        parameters = {"max_attempts": "1"}
        task_id = server.create(task(WAITING, shared, preemptible=True, backend_parameters=parameters))
        end_worker(server, task_id, 1, shared)
        assert server.wait(task_id)["state"] == "PREEMPTED"
        assert server.client.get(f"/v1/tasks/{task_id}").json()["state"] == "SYSTEM_ERROR"


def ended_attempts(server: TespServer, task_id: str) -> list[dict[str, Any]]:
    return [attempt for attempt in server.get(task_id)["logs"] if attempt.get("end_time")]


def test_an_input_that_appears_while_the_task_waits(environment: dict[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    wanted = task("cat /in/data", shared)
    wanted["inputs"].append({"url": f"file://{shared}/data", "path": "/in/data"})
    with TespServer(environment | {"TESP_API_RETRIES__STAGING": "5"}) as server:
        task_id = server.create(wanted)
        poll(lambda: ended_attempts(server, task_id), timeout_s=60, why="no attempt ends")
        (shared / "data").write_text("here it is")
        ended = server.wait(task_id)
    assert ended["state"] == "COMPLETE"
    assert len(ended["logs"]) > 1
    assert any("there is no such FILE" in line for line in ended["logs"][0]["system_logs"])
    assert [log["stdout"] for log in ended["logs"][-1]["logs"]] == ["here it is"]


def test_a_task_without_room_ends_when_it_waited_for_too_long(
    environment: dict[str, str], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    with TespServer(environment | {"TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": "1"}) as server:
        holder = server.create(task(WAITING, shared))
        poll(lambda: runs_of(shared) == 1, timeout_s=60, why="the first task does not run")
        waiting = server.run(task("true", shared, backend_parameters={"queued_s": "1"}))
        assert waiting["state"] == "SYSTEM_ERROR"
        assert waiting["logs"][0]["system_logs"][1:] == ["was QUEUED for longer than queued_s = 1 s"]
        (shared / "go_on").touch()
        assert server.wait(holder)["state"] == "COMPLETE"


def test_the_container_of_a_task_that_runs_for_too_long_is_removed() -> None:
    require_docker()
    slow = {"executors": [{"image": "busybox:latest", "command": ["sleep", "600"]}]}
    with TespServer(ONLY_DOCKER | {"TESP_API_DEADLINES__RUNNING_S": "1.5"}) as server:
        task_id = server.create(slow)
        server.wait(task_id, states={"RUNNING"})
        ended = server.wait(task_id, timeout_s=20)
        assert ended["state"] == "SYSTEM_ERROR"
        assert ended["logs"][0]["system_logs"][-1] == "was RUNNING for longer than running_s = 1.5 s"
        poll(lambda: not containers_of(task_id), timeout_s=10, why="its container is still there")
        refused = server.client.post(
            "/ga4gh/tes/v1/tasks", json=slow | {"resources": {"backend_parameters": {"running_s": "2"}}}
        )
    assert refused.status_code == 400
    assert "more than the 1.5 s" in json.dumps(refused.json())


def containers_of(task_id: str) -> list[str]:
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", f"label=tesp.task={task_id}"],
        capture_output=True,
        check=True,
        text=True,
    )
    return listed.stdout.split()
