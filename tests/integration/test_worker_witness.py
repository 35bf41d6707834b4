"""The witness of real Dockers: nothing of it outlives its worker, and a forwarder of the socket needs one."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesp_api.worker.process import pid_started, worker_is_dead, worker_label
from tesp_api.worker.runtimes.docker import Docker
from tesp_api.worker.runtimes.docker_engine import Engine
from tests.integration.test_worker_shared_folders import ALONE, nothing_is_left
from tests.integration.worker_job import WorkerJob, shell, wait_until
from tests.services.containers import require_docker

pytestmark = pytest.mark.services

SLOW_CLIENT = """#!/bin/sh
case "$*" in run*-witness*) echo $$ > {folder}/begun; sleep 2; esac
PATH={path}
exec docker "$@"
"""


@pytest.fixture(autouse=True)
def needs_docker() -> None:
    require_docker()


def shared_job(tmp_path: Path) -> WorkerJob:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "key").write_text("key\n")
    return WorkerJob(
        tmp_path / f"job{time.time_ns()}",
        "docker",
        roots=[{"path": str(shared), "mount": "rw"}],
        inputs=[{"path": "/in", "url": f"file://{shared}", "type": "DIRECTORY"}],
        executors=[shell("cat /in/key")],
    )


def all_of_workers() -> set[str]:
    """Containers and volumes with a worker's label."""
    found: set[str] = set()
    for kind in (["ps", "--all"], ["volume", "ls"]):
        argv = ["docker", *kind, "--quiet", "--filter=label=tesp.worker"]
        found |= set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
    return found


def test_a_worker_that_is_killed_while_its_witness_starts_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shared_job(tmp_path)
    before = all_of_workers()
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    client.write_text(SLOW_CLIENT.format(folder=tmp_path, path=os.environ["PATH"]))
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")
    process = job.start(ALONE)
    client_pid = int(wait_until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text()))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not (job.directory / "task").exists())
    wait_until(lambda: pid_started(client_pid) is None)  # else it would go on and make one
    assert nothing_is_left(job) and all_of_workers() <= before


def test_volumes_of_dead_workers_are_swept(tmp_path: Path) -> None:
    pid, _, rest = worker_label().partition(":")
    dead = f"{pid}:1:{rest.partition(':')[2]}"
    assert worker_is_dead(dead)
    names = {
        f"tesp-test-{time.time_ns()}-{kind}": label for kind, label in (("a", dead), ("b", worker_label()))
    }
    try:
        for name, label in names.items():
            subprocess.run(
                ["docker", "volume", "create", f"--label=tesp.worker={label}", name],
                check=True,
                capture_output=True,
            )
        docker = Docker((), str(tmp_path))
        found = {name: label for leftover, label in docker.leftovers() for name in [leftover.split()[-1]]}
        assert names.items() <= found.items()
        assert shared_job(tmp_path).run()["state"] == "COMPLETE"
        dead_one, living = names
        wait_until(lambda: dead_one not in all_volumes())
        assert living in all_volumes()
    finally:
        subprocess.run(["docker", "volume", "rm", "--force", *names], check=True, capture_output=True)


def all_volumes() -> list[str]:
    argv = ["docker", "volume", "ls", "--quiet"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def forwarder(tmp_path: Path) -> Iterator[Path]:
    """A socket beside us that hands all on to the daemon's."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=accept_all, args=(listener,), daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


def accept_all(listener: socket.socket) -> None:
    while True:
        try:
            one = listener.accept()[0]
        except OSError:
            return
        other = socket.socket(socket.AF_UNIX)
        other.connect("/var/run/docker.sock")
        for source, sink in ((one, other), (other, one)):
            threading.Thread(target=hand_on, args=(source, sink), daemon=True).start()


def hand_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_a_forwarder_beside_us_is_no_daemon_beside_us(
    tmp_path: Path, forwarder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Engine().is_beside_us()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{forwarder}")
    assert Engine().version() and not Engine().is_beside_us()
    job = shared_job(tmp_path)
    result = job.run()
    assert (result["state"], job.log("0.stdout")) == ("COMPLETE", b"key\n"), result
    assert nothing_is_left(job)
