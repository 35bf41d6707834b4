"""Containers that are started by the daemon's socket: as `docker run` makes them, and as it tells of them."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.worker.mounts import Bind
from tesp_api.worker.order import Confinement
from tesp_api.worker.runtimes.base import Run
from tesp_api.worker.runtimes.docker import Docker, confining_options, run_arguments
from tesp_api.worker.runtimes.docker_container import FAILED, NOT_EXECUTABLE, NOT_FOUND, Container, order_of
from tesp_api.worker.runtimes.docker_engine import Engine
from tesp_api.worker.runtimes.docker_shared import volume_option
from tests.integration.worker_job import wait_until
from tests.services.containers import IMAGE, require_docker

pytestmark = pytest.mark.services

LEAST = Run("", {}, IMAGE, ("true",), None, {}, False, (), "default", None, None)
STRICT = Confinement(pids_max=100, capabilities=("CAP_CHOWN", "CAP_KILL"), new_privileges=False, init=True)
SHARED = Bind("/in/shared", "/usr", writable=False, is_shared=True)
OF_EACH = ("Hostname", "ConsoleSize")


@pytest.fixture
def name() -> Iterator[str]:
    require_docker()
    name = f"tesp-socket-{time.time_ns()}"
    yield name
    subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)
    subprocess.run(["docker", "volume", "rm", "--force", f"{name}-0"], capture_output=True, check=False)


def told(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout


def container_of(name: str) -> dict[str, Any]:
    """All that the daemon was told of it, in the end; it is removed."""
    (found,) = json.loads(told("docker", "container", "inspect", name))
    found["Config"]["Env"] = sorted(found["Config"]["Env"] or ())
    told("docker", "rm", "--volumes", name)
    return {
        part: {key: value for key, value in found[part].items() if value and key not in OF_EACH}
        for part in ("Config", "HostConfig")
    }


def most(folder: Path) -> Run:
    for part in ("a, b", 'c"d'):
        (folder / part).mkdir()
    return LEAST._replace(
        labels={"tesp.task": "t", "tesp.worker": "1:2:3"},
        command=("sh", "-c", "echo $A", "--rm", ""),
        workdir="/made here",
        env={"A": "b=c", "B": "two\nlines", "PATH": "/bin"},
        with_stdin=True,
        binds=(Bind("/in/a, b", str(folder / "a, b"), writable=False), Bind("/out", str(folder / 'c"d'))),
        network="none",
        cpus=0.5,
        memory_bytes=64 << 20,
        confinement=STRICT,
    )


def with_volume(folder: Path) -> Run:
    return LEAST._replace(binds=(Bind("/tmp", str(folder)), SHARED), labels={"tesp.task": "t"})


@pytest.mark.parametrize("make", [lambda _: LEAST, most, with_volume], ids=["least", "most", "a volume"])
def test_it_is_the_container_that_docker_run_would_make(name: str, tmp_path: Path, make: Any) -> None:
    run: Run = make(tmp_path)._replace(name=name)
    volume = volume_option(SHARED, SHARED.source, ",ro", f"{name}-0", run.labels)
    mounts = {SHARED.target: volume}
    user = "1000:100" if run.labels else None
    options = [f"--env={key}={value}" for key, value in sorted(run.env.items())]
    options += [*confining_options(run, with_init=True), *([f"--user={user}"] if user else [])]
    program, *arguments = run_arguments(run, None, options, [], mounts)
    assert program == "run"
    attached = ["--attach=stdin"] if run.with_stdin else []
    told("docker", "create", *attached, "--attach=stdout", "--attach=stderr", *arguments)
    expected = container_of(name)
    status, answer = Engine().ask(
        "POST", f"/containers/create?name={name}", order_of(run, user, True, mounts), None
    )
    assert status == 201, answer
    assert container_of(name) == expected


def started(name: str, *command: str, stdin: int = subprocess.DEVNULL, **more: Any) -> Container:
    run = LEAST._replace(name=name, command=command, with_stdin=stdin != subprocess.DEVNULL, **more)
    return Container(Engine(), name, order_of(run, None, False, {}), stdin)


def ended(container: Container) -> tuple[int, bytes, bytes]:
    assert container.stdout and container.stderr
    with container.stdout, container.stderr:
        said = container.stdout.read(), container.stderr.read()
    return container.wait(60), *said


def test_its_streams_and_its_exit_code_are_those_of_its_program(name: str, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(bytes(range(256)) * 4000)
    with given.open("rb") as stdin:
        container = started(name, "sh", "-c", "cat; echo oops >&2; exit 7", stdin=stdin.fileno())
        assert ended(container) == (7, given.read_bytes(), b"oops\n")
    assert container.poll() == 7


@pytest.mark.parametrize(
    ("command", "code"), [("/no/such", NOT_FOUND), ("nosuch", NOT_FOUND), ("/etc/passwd", NOT_EXECUTABLE)]
)
def test_a_program_that_cannot_run_is_told_as_by_docker_run(name: str, command: str, code: int) -> None:
    found, stdout, stderr = ended(started(name, command))
    assert (found, stdout) == (code, b"")
    assert command in stderr.decode() and stderr.startswith(b"docker: Error response from daemon: ")


def test_what_the_daemon_refuses_is_told(name: str) -> None:
    code, _, stderr = ended(started(name, "true", image="no/such:image"))
    assert code == FAILED and b"docker: Error response from daemon: No such image: no/such:image" in stderr


def test_a_program_that_closes_its_streams_is_waited_for(name: str) -> None:
    container = started(name, "sh", "-c", "exec >&- 2>&-; sleep 1; exit 5")
    assert ended(container) == (5, b"", b"")


def test_without_a_daemon_it_fails_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    code, _, stderr = ended(started("x", "true"))
    assert code == FAILED and b"No such file" in stderr


def test_a_daemon_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        container = started("x", "true")
        with listener.accept()[0] as connection:
            connection.recv(1)
            with pytest.raises(subprocess.TimeoutExpired):
                container.wait(0.1)
            container.kill()
            assert container.wait(10) == FAILED


def test_a_daemon_that_goes_away_before_it_attaches_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        container = started("x", "true")
        for answer in (b"HTTP/1.0 201 Created\r\n\r\n{}", b""):
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)
        code, _, stderr = ended(container)
    assert code == FAILED and b"the daemon closed the connection" in stderr


def test_what_cannot_be_read_for_its_stdin_is_told(name: str) -> None:
    directory = os.open("/", os.O_RDONLY)
    try:
        code, _, stderr = ended(started(name, "cat", stdin=directory))
    finally:
        os.close(directory)
    assert code == FAILED and b"cannot read what is given to its stdin: Is a directory" in stderr


def test_nobody_feeds_a_program_that_has_ended(name: str, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(bytes(20_000_000))
    before = threading.active_count()
    with given.open("rb") as stdin:
        container = started(name, "sh", "-c", "head -c1 | wc -c; exit 3", stdin=stdin.fileno())
        assert ended(container)[:2] == (3, b"1\n")
        wait_until(lambda: threading.active_count() <= before)


def test_an_image_that_was_removed_meanwhile_is_left_to_the_program(name: str, tmp_path: Path) -> None:
    """It pulls the image again."""
    docker = Docker((), str(tmp_path))
    assert docker.launch(LEAST._replace(name=name)).start is not None
    launch = docker.launch(LEAST._replace(name=name, image="removed.example/image:1"))
    assert launch.start is None and "removed.example/image:1" in launch.argv


def test_a_container_that_is_removed_as_it_runs_ends(name: str) -> None:
    container = started(name, "sleep", "600")
    wait_until(
        lambda: subprocess.run(["docker", "top", name], capture_output=True, check=False).returncode == 0
    )
    told("docker", "rm", "--force", name)
    assert ended(container)[0] == 137


def test_another_context_of_the_program_is_not_mistaken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The daemon is another one then, which the program knows to find."""
    require_docker()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"currentContext": "rootless"}')
    with pytest.raises(OSError, match="rootless"):
        Engine().version()
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    assert Engine().version()
