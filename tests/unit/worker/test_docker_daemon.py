"""Docker's daemon goes away while a container runs, or is restarted: as its command line tells of it."""

import csv
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tesp_api.worker import process, runtimes
from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.errors import Canceled, SystemFailure
from tesp_api.worker.mounts import Bind
from tesp_api.worker.process import run_despite_daemon
from tesp_api.worker.runtimes import docker_shared
from tesp_api.worker.runtimes.base import Run
from tesp_api.worker.runtimes.docker import Docker

AWAY = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that prints `said`; before that it says, for each line of `away`, that it cannot."""
    program = tmp_path / "docker"
    away = f"if [ -s away ]; then sed -i 1d away; echo '{AWAY}' >&2; exit 1; fi"
    program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{away}\ncat said\n")
    program.chmod(0o700)
    (tmp_path / "said").write_text("20.10\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setattr(process, "PAUSE_MIN_S", 0.01)
    return tmp_path


def a_run() -> Run:
    return Run("tesp-job-0", {}, "busybox", ("true",), None, {}, False, (), "none", None, None)


def outcome(folder: Path, returncode: int, **state: Any) -> int:
    docker = Docker((), str(folder))
    (folder / "said").write_text(json.dumps({"StartedAt": "2026-01-01", "ExitCode": 0, **state}))
    return docker.outcome(a_run(), returncode, b"error waiting for container: unexpected EOF").exit_code


def test_a_container_is_removed_once_the_daemon_is_back(folder: Path) -> None:
    docker = Docker((), str(folder))
    (folder / "away").write_text("1\n2\n3\n")
    docker.remove(a_run())
    assert not (folder / "away").read_text()


@contextmanager
def daemon(folder: Path, status: str) -> Iterator[list[bytes]]:
    """A daemon's socket that answers one request; its first lines come into the list."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "none"))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as connection:
                asked.append(connection.recv(4096).partition(b"\r\n")[0])
                connection.sendall(f"HTTP/1.0 {status}\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield asked
        thread.join(10)


@pytest.mark.parametrize("status", ["204 No Content", "404 Not Found"])
def test_a_container_is_removed_without_the_program_where_the_socket_is_reached(
    folder: Path, status: str
) -> None:
    docker = Docker((), str(folder))
    (folder / "docker").unlink()
    with daemon(folder, status) as asked:
        docker.remove(a_run())
    assert asked == [b"DELETE /containers/tesp-job-0?force=1&v=1 HTTP/1.0"]


def test_what_the_socket_refuses_is_tried_by_the_program(folder: Path) -> None:
    docker = Docker((), str(folder))
    (folder / "docker").write_text("#!/bin/sh\necho Error: it is busy\nexit 1\n")
    with daemon(folder, "409 Conflict"), pytest.raises(SystemFailure, match="it is busy"):
        docker.remove(a_run())


def test_patience_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE_S", 0.0)
    (folder / "away").write_text("1\n" * 100)
    assert run_despite_daemon(["docker", "rm", "x"]) == (1, AWAY)


def test_other_failures_are_told_at_once(folder: Path) -> None:
    assert run_despite_daemon(["sh", "-c", "echo No such container >&2; exit 1"]) == (1, "No such container")


@pytest.mark.parametrize("returncode", [125, 137, 143])
def test_a_daemon_that_went_away_is_named(folder: Path, returncode: int) -> None:
    docker = Docker((), str(folder))
    (folder / "away").write_text("1\n")
    with pytest.raises(SystemFailure, match="daemon went away while tesp-job-0 ran"):
        docker.outcome(a_run(), returncode, b"")


@pytest.mark.parametrize("exit_code", [0, 137])
def test_a_client_that_lost_its_container_gives_no_exit_code(folder: Path, exit_code: int) -> None:
    """The daemon is back already; the container runs on (0 until it ends), or was killed with the daemon."""
    with pytest.raises(SystemFailure, match="daemon was restarted while tesp-job-0 ran"):
        outcome(folder, 125, ExitCode=exit_code)


def test_exit_codes_of_programs_are_theirs(folder: Path) -> None:
    assert outcome(folder, 125, ExitCode=125) == 125
    assert outcome(folder, 143, ExitCode=143) == 143


def chosen(folder: Path, said: list[str]) -> str:
    site = SimpleNamespace(runtimes=("docker", "singularity"), runtime_args={})
    cancellation = Cancellation(str(folder / "cancel"))
    return runtimes.choose_runtime(cast(Any, site), str(folder), cancellation, said.append).description


def test_a_worker_that_begins_while_the_daemon_is_restarted_waits_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "PAUSE_S", 0.01)
    (folder / "away").write_text("1\n2\n3\n")
    said: list[str] = []
    assert chosen(folder, said) == "docker 20.10"
    assert len(said) == 1 and "the daemon does not answer" in said[0] and "Waiting for it" in said[0]


def test_no_worker_waits_for_a_daemon_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "PATIENCE_S", 0.0)
    (folder / "away").write_text("1\n" * 100)
    with pytest.raises(
        SystemFailure, match=r"No container runtime works .*docker: the daemon does not answer"
    ):
        chosen(folder, [])


def test_a_cancel_ends_the_wait_for_a_daemon(folder: Path) -> None:
    (folder / "away").write_text("1\n" * 100)
    (folder / "cancel").touch()
    with pytest.raises(Canceled):
        chosen(folder, [])


@pytest.mark.parametrize(
    ("version", "is_beside", "mounts"),
    [
        ("1.45", True, True),
        ("1.50", True, True),
        ("2.0", True, True),
        ("1.44", True, False),
        ("1.45", False, False),
    ],
)
def test_a_file_that_cannot_be_linked_is_mounted_out_of_its_directory_by_newer_dockers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_beside: bool, mounts: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(docker_shared, "link", refuse)
    (folder / "job" / "task").mkdir(parents=True)
    (folder / "a,b").touch()
    docker = Docker((), str(folder / "job" / "task"))
    (folder / "said").write_text(f"WARNING: /root/.docker/config.json cannot be read\n{version}\n")
    monkeypatch.setattr(docker._engine, "is_beside_us", lambda: is_beside)
    bind = Bind("/in/x", str(folder / "a,b"), writable=False, is_file=True, is_shared=True)
    why = docker.why_not_mounted(bind, a_run())
    if not mounts:
        assert why is not None and "cross-device" in why
        return
    assert why is None
    (option,) = [one for one in docker.launch(a_run()._replace(binds=(bind,))).argv if "target=/in/x" in one]
    fields = next(csv.reader([option.partition("=")[2]]))
    assert {"type=volume", "source=tesp-job-0-file-0", "volume-subpath=a,b", "readonly"} <= set(fields)
    (device,) = [field.rpartition("=")[2] for field in fields if "device=" in field]
    assert Path(device).samefile(folder)
    docker.remove(a_run())
    assert [path.name for path in (folder / "job").iterdir()] == ["task"]
