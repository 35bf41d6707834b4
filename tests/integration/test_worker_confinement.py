"""How containers are held in check, seen from inside of real ones."""

import os
from pathlib import Path

import pytest

from tesp_api.settings import ContainerSettings
from tests.integration.worker_job import WorkerJob, shell
from tests.services.containers import require_docker, require_podman

pytestmark = pytest.mark.services

SERVICES = {"docker": require_docker, "podman": require_podman}
DEFAULT = ContainerSettings()
CONFINED = {
    "pids_max": 100,
    "capabilities": list(DEFAULT.capabilities),
    "new_privileges": False,
    "init": True,
    "user": "auto",
}
NUMBERS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7}
MASK = f"{sum(1 << NUMBERS[name] for name in DEFAULT.capabilities):016x}"


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> str:
    SERVICES[request.param]()
    return str(request.param)


def test_a_container_has_the_capabilities_that_are_left_and_gains_none(tmp_path: Path, engine: str) -> None:
    script = "grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status; mknod /tmp/d b 7 0 || echo no device"
    job = WorkerJob(tmp_path / "job", engine, executors=[shell(script)], site={"confinement": CONFINED})
    assert job.run()["state"] == "COMPLETE"
    seen = dict(line.split(":\t") for line in job.log("0.stdout").decode().splitlines() if ":" in line)
    assert seen == {"CapEff": MASK, "CapBnd": MASK, "NoNewPrivs": "1"}
    assert b"no device" in job.log("0.stdout")


def test_docker_runs_a_small_init(tmp_path: Path) -> None:
    require_docker()
    script = "tr '\\0' ' ' < /proc/1/cmdline"
    job = WorkerJob(tmp_path / "job", "docker", executors=[shell(script)], site={"confinement": CONFINED})
    assert job.run()["state"] == "COMPLETE"
    assert job.log("0.stdout").startswith(b"/sbin/docker-init ")


@pytest.mark.parametrize("runtime", ["docker", "podman", "bubblewrap"])
def test_a_program_cannot_make_processes_without_end(tmp_path: Path, runtime: str) -> None:
    SERVICES.get(runtime, lambda: None)()
    script = "for i in $(seq 150); do sleep 30 & done; jobs | wc -l"
    confined = {**CONFINED, "pids_max": 60}
    job = WorkerJob(
        tmp_path / "job",
        runtime,
        executors=[shell(script, ignore_error=True), shell("echo all is well again")],
        site={"confinement": confined},
    )
    result = job.run()
    assert result["state"] == "COMPLETE", result
    assert b"ork" in job.log("0.stderr"), "the shell says that it cannot fork"
    assert job.log("1.stdout") == b"all is well again\n"


def test_what_a_container_writes_into_a_shared_folder_is_its_owner_s(tmp_path: Path, engine: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 1234, 1235)
    job = WorkerJob(
        tmp_path / "job",
        engine,
        roots=[{"path": str(shared), "mount": "rw"}],
        executors=[shell("id -u; echo x > /shared/x; echo y > /out/y")],
        inputs=[{"url": str(shared), "path": "/shared", "type": "DIRECTORY"}],
        outputs=[{"url": f"{shared}/y", "path": "/out/y"}],
        site={"confinement": CONFINED},
    )
    result = job.run()
    assert result["state"] == "COMPLETE", (result, job.log("0.stderr"))
    status = (shared / "x").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)
    assert (shared / "y").read_text() == "y\n"


@pytest.mark.parametrize("runtime", ["docker", "podman", "bubblewrap"])
def test_inputs_that_are_read_only_stay_what_they_are(tmp_path: Path, runtime: str) -> None:
    SERVICES.get(runtime, lambda: None)()
    script = (
        "echo spoiled > /data/a || echo kept a; echo more > /dir/more || echo kept dir;"
        " rm /data/a || echo still there; echo result > /data/result; echo c > /both/c; cat /data/a /alone"
    )
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_text("f")
    job = WorkerJob(
        tmp_path / "job",
        runtime,
        roots=[{"path": str(tmp_path), "mount": "copy"}],
        executors=[shell(script)],
        inputs=[
            {"path": "/data/a", "content": "as it was\n"},
            {"path": "/alone", "content": "alone\n"},
            {"path": "/dir", "url": str(source), "type": "DIRECTORY"},
            {"path": "/both", "url": str(source), "type": "DIRECTORY"},
        ],
        outputs=[
            {"path": "/data/result", "url": f"{tmp_path}/sent/result"},
            {"path": "/both/c", "url": f"{tmp_path}/sent/c"},
        ],
        site={"read_only_inputs": True},
    )
    result = job.run()
    assert result["state"] == "COMPLETE", (result, job.log("0.stderr"))
    said = job.log("0.stdout").decode().splitlines()
    assert said == ["kept a", "kept dir", "still there", "as it was", "alone"]
    assert (tmp_path / "sent" / "result").read_text() == "result\n"
