"""docker/supervise, process 1 of the images: in a PID namespace of its own, as in a container."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.tesp import poll

pytestmark = pytest.mark.services

SUPERVISE = Path(__file__).resolve().parents[2] / "docker/supervise"
COMMAND = """
setsid sh -c '
    trap "echo worker ended >>log; exit" TERM
    echo worker began >>log
    while :; do sleep 0.05; done
' &
trap 'echo command ended >>log; exit 7' TERM
until grep -q began log; do sleep 0.05; done
echo ready >>log
while :; do sleep 0.05; done
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    if os.geteuid() != 0:
        pytest.skip("takes root, for a namespace")
    (tmp_path / "log").touch()
    argv = ["unshare", "--fork", "--pid", "--kill-child", str(SUPERVISE), "sh", "-c", COMMAND]
    process = subprocess.Popen(argv, cwd=tmp_path)
    yield process
    process.kill()
    process.wait()


def said(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_it_ends_the_command_first_and_then_its_workers(
    started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    poll(lambda: "ready" in said(tmp_path), timeout_s=20, why="the command does not begin")
    [inner] = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(inner), signal.SIGTERM)
    assert started.wait(timeout=30) == 7, "its exit code is the command's"
    assert said(tmp_path)[-2:] == ["command ended", "worker ended"]
