"""Tasks on a real Slurm, behind a stock Pulsar's managers of type queued_cli and queued_drmaa.

The latter only where somebody has built Slurm's DRMAA library (`slurm_site.drmaa_library`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.slurm_site import documented_squeue, drmaa_library, pulsar_before, server_of
from tests.acceptance.test_attempts import containers_of
from tests.services.containers import require_docker
from tests.services.pulsar_rest import StockPulsar
from tests.services.slurm import Slurm
from tests.services.tesp import TespServer, poll

pytestmark = pytest.mark.services

needs_drmaa = pytest.mark.skipif(drmaa_library() is None, reason="Slurm's DRMAA library is not built here")
WAYS = ["small", *(["drmaa"] if drmaa_library() else [])]
SLEEP = "echo up; sleep 600"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    require_docker()
    with Slurm() as slurm:
        yield slurm


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def pulsar(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockPulsar]:
    """With the squeue that docs/operations.md shows."""
    squeue = tmp_path_factory.mktemp("programs") / "squeue"
    squeue.write_text(documented_squeue())
    squeue.chmod(0o755)
    with pulsar_before(slurm, squeue.parent) as pulsar:
        yield pulsar


@pytest.fixture(scope="module")
def server(pulsar: StockPulsar, shared: Path) -> Iterator[TespServer]:
    roots = {
        "TESP_API_DESTINATIONS__SPARE__FILE_ROOTS": "@json "
        + json.dumps([{"path": str(shared), "mount": "rw"}])
    }
    with server_of(pulsar, {"large": "docker"}, **roots) as server:
        yield server


@pytest.fixture(scope="module")
def overtime(server: TespServer, slurm: Slurm) -> str:
    """A task whose time is over; Slurm looks for such jobs every half minute."""
    task_id = server.create(task(SLEEP, "small", preemptible=True))
    server.wait(task_id, states={"RUNNING"})
    slurm.end_now(submitted(slurm, task_id))
    return task_id


@pytest.fixture
def drained(slurm: Slurm) -> Iterator[None]:
    """The node takes no new jobs."""
    slurm.drain()
    yield
    slurm.resume()


def task(script: str, destination: str | None = None, **resources: Any) -> dict[str, Any]:
    parameters = resources.pop("parameters", {}) | ({"destination": destination} if destination else {})
    return {
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
        "resources": {"ram_gb": 0.5, **resources, "backend_parameters": parameters},
    }


def told(server: TespServer, task_id: str) -> str:
    """All reasons in the task's history."""
    return str(server.client.get(f"/tesp/v1/tasks/{task_id}/history").text)


def cancel(server: TespServer, task_id: str) -> None:
    server.client.post(f"/ga4gh/tes/v1/tasks/{task_id}:cancel").raise_for_status()


def submitted(slurm: Slurm, task_id: str) -> str:
    return str(poll(lambda: slurm.job_of(task_id), timeout_s=60, why="Slurm has no job of the task"))


def until_it_waits(server: TespServer, task_id: str) -> None:
    why = f"its history does not say that it waits: {told(server, task_id)}"
    poll(lambda: "waits for the scheduler at" in told(server, task_id), timeout_s=60, why=why)
    assert server.get(task_id)["state"] == "QUEUED"


def is_gone(slurm: Slurm, job_id: str) -> None:
    poll(lambda: job_id not in slurm.jobs(), timeout_s=30, why=f"Slurm still has job {job_id}")


def test_a_size_class_is_chosen_and_its_job_has_that_size(
    server: TespServer, slurm: Slurm, overtime: str
) -> None:
    ended = server.run(task("echo done", cpu_cores=3, ram_gb=4))
    assert ended["state"] == "COMPLETE", ended
    assert ended["logs"][0]["metadata"]["destination"] == "large"
    assert ended["logs"][0]["logs"][0]["stdout"] == "done\n"
    job = slurm.job(submitted(slurm, ended["id"]))
    assert (job["NumCPUs"], job["MinMemoryNode"], job["TimeLimit"]) == ("4", "8000M", "01:00:00")


@needs_drmaa
def test_slurm_is_told_what_the_task_asks_for(server: TespServer, slurm: Slurm) -> None:
    asked = {"cpu_cores": 2, "ram_gb": 2, "disk_gb": 1, "parameters": {"walltime_s": "5400"}}
    ended = server.run(task("echo done", "drmaa", **asked))
    assert (ended["state"], ended["logs"][0]["logs"][0]["stdout"]) == ("COMPLETE", "done\n"), ended
    job = slurm.job(submitted(slurm, ended["id"]))
    assert (job["CPUs/Task"], job["MinMemoryNode"], job["MinTmpDiskNode"]) == ("2", "1908M", "1000M")
    assert (job["TimeLimit"], job["Requeue"]) == ("01:30:00", "0")


def test_a_pending_task_waits_and_can_be_canceled(server: TespServer, slurm: Slurm, drained: None) -> None:
    ids = [server.create(task(SLEEP, way)) for way in WAYS]
    for task_id in ids:
        until_it_waits(server, task_id)
        cancel(server, task_id)
    for task_id in ids:
        assert server.wait(task_id)["state"] == "CANCELED"
        is_gone(slurm, submitted(slurm, task_id))
        assert slurm.job(submitted(slurm, task_id))["JobState"] == "CANCELLED"


def test_a_pending_task_outlives_the_controller(
    server: TespServer, slurm: Slurm, pulsar: StockPulsar, drained: None
) -> None:
    task_id = server.create(task("echo done", "small"))
    until_it_waits(server, task_id)
    slurm.stop("slurmctld")
    query = {"private_token": pulsar.private_token}
    try:
        said = httpx.get(f"{pulsar.url}/managers/small/jobs/{task_id}-1/status", params=query, timeout=60)
    finally:
        slurm.start("slurmctld")
    assert said.json()["status"] == "queued"
    slurm.resume()
    ended = server.wait(task_id)
    assert (ended["state"], len(ended["logs"])) == ("COMPLETE", 1), told(server, task_id)


def test_a_canceled_task_leaves_neither_job_nor_container(server: TespServer, slurm: Slurm) -> None:
    ids = [server.create(task(SLEEP, way)) for way in ("large", *WAYS[1:])]
    for task_id in ids:
        server.wait(task_id, states={"RUNNING"})
        cancel(server, task_id)
    for task_id in ids:
        assert server.wait(task_id)["state"] == "CANCELED"
        is_gone(slurm, submitted(slurm, task_id))
        poll(lambda: not containers_of(task_id), timeout_s=60, why="its container is there")  # noqa: B023


def test_a_job_that_the_administrator_ends_is_told_of(server: TespServer, slurm: Slurm) -> None:
    ids = [server.create(task(SLEEP, way)) for way in WAYS]
    for task_id in ids:
        server.wait(task_id, states={"RUNNING"})
        slurm.run("scancel", submitted(slurm, task_id))
    for task_id in ids:
        ended = server.wait(task_id)
        assert ended["state"] == "SYSTEM_ERROR"
        reason = ended["logs"][0]["system_logs"][-1]
        assert "The site ended the job with SIGTERM" in reason
        assert f"JOB {submitted(slurm, task_id)} ON node CANCELLED AT" in reason


def test_a_preempted_job_that_slurm_runs_again_does_nothing(
    server: TespServer, slurm: Slurm, shared: Path
) -> None:
    once = {"preemptible": True, "parameters": {"max_attempts": "1"}}
    wanted = task("echo ran >> /shared/ran; sleep 600", "spare", **once)
    task_id = server.create(
        wanted | {"inputs": [{"url": f"file://{shared}", "path": "/shared", "type": "DIRECTORY"}]}
    )
    poll((shared / "ran").exists, timeout_s=60, why="the task does not run")
    job_id = submitted(slurm, task_id)
    urgent = ("--partition=urgent", "--cpus-per-task=6", "--mem=100", "--output=/dev/null")
    slurm.run("sbatch", *urgent, "--wrap=true")
    ended = server.wait(task_id)
    assert (ended["state"], len(ended["logs"])) == ("PREEMPTED", 1), told(server, task_id)
    assert "PREEMPTION" in ended["logs"][0]["system_logs"][-1]
    job = slurm.job(job_id)
    assert (job["Requeue"], job["Restarts"]) == ("1", "1")
    slurm.run("scontrol", "update", f"JobId={job_id}", "StartTime=now")  # Slurm lets such a job rest
    is_gone(slurm, job_id)
    assert (shared / "ran").read_text() == "ran\n"


def test_a_task_whose_time_is_over_says_so(server: TespServer, slurm: Slurm, overtime: str) -> None:
    ended = server.wait(overtime)
    assert slurm.job(submitted(slurm, overtime))["JobState"] in ("TIMEOUT", "COMPLETING")
    assert (ended["state"], len(ended["logs"])) == ("SYSTEM_ERROR", 1), "it would only be over once more"
    assert ended["logs"][0]["metadata"]["cause"] == "time_limit"
    assert "DUE TO TIME LIMIT" in ended["logs"][0]["system_logs"][-1]
