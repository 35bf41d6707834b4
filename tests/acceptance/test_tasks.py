"""Whole tasks on the whole server: what a user posts, and what becomes of it."""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import KINDS, environment_of
from tests.services.gated_http import GatedHttp
from tests.services.tesp import TespServer, free_port, poll

pytestmark = [pytest.mark.sampled(2), pytest.mark.services]

IMAGE = "busybox:latest"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tasks may name: files are copied in and out."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def web() -> Iterator[GatedHttp]:
    with GatedHttp() as web:
        yield web


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, shared: Path) -> Iterator[TespServer]:
    with environment_of(request.param, roots={shared: "copy"}) as settings, TespServer(settings) as server:
        yield server


@pytest.fixture(scope="module")
def docker_server(shared: Path) -> Iterator[TespServer]:
    kind = "embedded-docker"
    with environment_of(kind, roots={shared: "copy"}) as settings, TespServer(settings) as server:
        yield server


def _sh(script: str, **more: Any) -> dict[str, Any]:
    return {"image": IMAGE, "command": ["sh", "-c", script], **more}


def _system_logs(task: dict[str, Any]) -> str:
    return "\n".join(line for log in task["logs"] for line in log.get("system_logs", ()))


def _containers(task_id: str) -> list[str]:
    command = ["docker", "ps", "-aq", "--filter", f"label=tesp.task={task_id}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_a_task_with_everything(server: TespServer, web: GatedHttp, shared: Path) -> None:
    (shared / "in.txt").write_text("from a file\n")
    web.files["/in.txt"] = b"from the web\n"
    task = server.run(
        {
            "name": "everything",
            "inputs": [
                {"content": "inline\n", "path": "/data/inline.txt"},
                {"url": f"{web.url}/in.txt", "path": "/data/web.txt"},
                {"url": f"file://{shared}/in.txt", "path": "/data/file.txt"},
                {"url": f"{shared}/in.txt", "path": "/data/bare.txt"},
            ],
            "outputs": [
                {"url": f"file://{shared}/out/all.txt", "path": "/out/all.txt"},
                {"url": f"{web.url}/put/dir", "path": "/vol/tree", "type": "DIRECTORY"},
                {"url": f"{web.url}/put/parts", "path": "/vol/part*.txt", "path_prefix": "/vol"},
            ],
            "volumes": ["/vol"],
            "executors": [
                _sh("cat /data/*.txt", stdout="/out/all.txt"),
                _sh("mkdir -p tree/sub && pwd > tree/sub/pwd && echo $WHO > tree/who", workdir="/vol/new"),
                _sh(
                    "cp -r new/tree . && wc -l > part1.txt && touch part2.txt",
                    workdir="/vol",
                    stdin="/out/all.txt",
                ),
                _sh("echo to-out; echo to-err >&2; exit 3", ignore_error=True),
                _sh("cat /vol/part1.txt; printf '\\377\\376'"),
            ],
        }
    )
    assert task["state"] == "COMPLETE", json.dumps(task, indent=1)
    (log,) = task["logs"]
    assert [entry["exit_code"] for entry in log["logs"]] == [0, 0, 0, 3, 0]
    assert log["logs"][0]["stdout"] == "from a file\nfrom a file\ninline\nfrom the web\n"
    assert (log["logs"][3]["stdout"], log["logs"][3]["stderr"]) == ("to-out\n", "to-err\n")
    assert log["logs"][4]["stdout"] == "4\n\ufffd\ufffd"
    assert (shared / "out" / "all.txt").read_bytes() == log["logs"][0]["stdout"].encode()
    assert web.files["/put/dir/sub/pwd"] == b"/vol/new\n"
    assert {name for name in web.files if name.startswith("/put/parts/")} == {
        "/put/parts/part1.txt",
        "/put/parts/part2.txt",
    }
    sizes = {output["path"]: output["size_bytes"] for output in log["outputs"]}
    assert sizes == {
        "/out/all.txt": str(len(log["logs"][0]["stdout"])),
        "/vol/tree/sub/pwd": "9",
        "/vol/tree/who": "1",
        "/vol/part1.txt": "2",
        "/vol/part2.txt": "0",
    }
    assert all(entry["start_time"] <= entry["end_time"] for entry in log["logs"])


def test_states_and_history_in_order(server: TespServer) -> None:
    task_id = server.create({"executors": [_sh("true")]})
    server.wait(task_id)
    history = server.client.get(f"/tesp/v1/tasks/{task_id}/history").json()["history"]
    states = list(dict.fromkeys(entry["state"] for entry in history))
    assert states == ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]


def test_logs_are_there_while_the_task_runs(server: TespServer, shared: Path) -> None:
    task_id = server.create({"executors": [_sh("echo early; sleep 600")]})
    path = f"/tesp/v1/tasks/{task_id}/logs/0/stdout"
    poll(lambda: server.client.get(path).content == b"early\n", timeout_s=30, why="no log while it runs")
    assert server.get(task_id)["state"] == "RUNNING"
    server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel").raise_for_status()
    task = server.wait(task_id, timeout_s=10)
    assert task["state"] == "CANCELED"
    assert server.client.get(path).content == b"early\n"


def test_a_cancel_ends_the_container_within_five_seconds(docker_server: TespServer) -> None:
    task_id = docker_server.create({"executors": [{"image": IMAGE, "command": ["sleep", "600"]}]})
    docker_server.wait(task_id, states={"RUNNING"})
    poll(lambda: _containers(task_id), timeout_s=10, why="no container")
    docker_server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel").raise_for_status()
    poll(lambda: not _containers(task_id), timeout_s=5, why="the container outlives the cancel by 5 s")
    task = docker_server.wait(task_id, timeout_s=5)
    assert task["state"] == "CANCELED"
    again = docker_server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel")
    assert (again.status_code, again.json()) == (200, {})


def test_a_killed_worker_leaves_no_container_and_no_running_task(docker_server: TespServer) -> None:
    task_id = docker_server.create({"executors": [{"image": IMAGE, "command": ["sleep", "600"]}]})
    docker_server.wait(task_id, states={"RUNNING"})
    poll(lambda: _containers(task_id), timeout_s=10, why="no container")
    (job,) = (docker_server.data / "pulsar" / "staging").glob(f"{task_id}-*")
    os.kill(json.loads((job / "metadata" / "tesp" / "started").read_text())["pid"], signal.SIGKILL)
    task = docker_server.wait(task_id, timeout_s=10)
    assert task["state"] == "SYSTEM_ERROR"
    assert "vanished without a result" in _system_logs(task)
    poll(lambda: not _containers(task_id), timeout_s=5, why="the container outlives its worker")
    poll(lambda: not job.exists(), timeout_s=10, why="the job's files stay at the site")


def test_an_executor_that_fails_stops_the_task_and_keeps_its_outputs(
    server: TespServer, shared: Path
) -> None:
    task = server.run(
        {
            "executors": [_sh("echo partial > /out/a; exit 7"), _sh("echo never")],
            "outputs": [{"url": f"file://{shared}/partial", "path": "/out/a"}],
        }
    )
    assert task["state"] == "EXECUTOR_ERROR"
    assert [entry["exit_code"] for entry in task["logs"][0]["logs"]] == [7]
    assert "exit code 7" in _system_logs(task)
    assert (shared / "partial").read_text() == "partial\n"


def test_a_command_that_does_not_exist(server: TespServer) -> None:
    task = server.run({"executors": [{"image": IMAGE, "command": ["no-such-program"]}]})
    assert task["state"] == "EXECUTOR_ERROR"
    assert task["logs"][0]["logs"][0]["exit_code"] == 127


@pytest.mark.parametrize("status", [404, None], ids=["not-found", "unreachable"])
def test_an_input_that_cannot_be_had(server: TespServer, web: GatedHttp, status: int | None) -> None:
    url = f"{web.url}/nowhere" if status else f"http://127.0.0.1:{free_port()}/nowhere"
    task = server.run({"inputs": [{"url": url, "path": "/in"}], "executors": [_sh("true")]})
    assert task["state"] == "SYSTEM_ERROR"
    assert url in _system_logs(task)
    assert (str(status) if status else "refused") in _system_logs(task)


def test_an_output_that_is_not_there(server: TespServer, shared: Path) -> None:
    task = server.run(
        {
            "executors": [_sh("true")],
            "outputs": [{"url": f"file://{shared}/x", "path": "/out/missing.txt"}],
        }
    )
    assert task["state"] == "SYSTEM_ERROR"
    assert "/out/missing.txt" in _system_logs(task)


def test_a_file_outside_the_roots_is_refused(server: TespServer) -> None:
    task = server.run(
        {"inputs": [{"url": "file:///etc/hostname", "path": "/in"}], "executors": [_sh("cat /in")]}
    )
    assert task["state"] == "SYSTEM_ERROR"
    assert "file_roots" in _system_logs(task)


def test_an_image_that_cannot_be_had(docker_server: TespServer) -> None:
    image = f"127.0.0.1:{free_port()}/no/such:image"
    task = docker_server.run({"executors": [{"image": image, "command": ["true"]}]})
    assert task["state"] == "SYSTEM_ERROR"
    assert image in _system_logs(task)


def test_nothing_is_left_at_the_site(server: TespServer) -> None:
    task_id = server.create({"executors": [_sh("echo data > /tmp/file")]})
    server.wait(task_id)
    staging = server.data / "pulsar" / "staging"
    poll(lambda: not list(staging.glob(f"{task_id}*")), timeout_s=10, why="the job directory stays")


def test_a_client_that_sends_all_of_a_large_body_first_sees_413(docker_server: TespServer) -> None:
    request = urllib.request.Request(f"{docker_server.url}/v1/tasks", b" " * 10_000_000)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 413


def test_limits_are_enforced_by_docker(docker_server: TespServer) -> None:
    task = docker_server.run(
        {
            "resources": {"cpu_cores": 1, "ram_gb": 0.064},
            "executors": [_sh("head -c 200000000 /dev/zero | tail")],
        }
    )
    assert task["state"] == "EXECUTOR_ERROR"
    assert "memory" in _system_logs(task).lower()


def test_a_stop_and_a_start_lose_nothing(docker_server: TespServer) -> None:
    task_id = docker_server.create({"executors": [_sh("sleep 3; echo survived")]})
    docker_server.wait(task_id, states={"RUNNING"})
    docker_server.stop()
    docker_server.start()
    task = docker_server.wait(task_id)
    assert (task["state"], task["logs"][0]["logs"][0]["stdout"]) == ("COMPLETE", "survived\n")
