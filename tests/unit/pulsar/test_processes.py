import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tesp_api.pulsar.processes import (
    Process,
    is_alive,
    kill_tree,
    open_pidfd,
    process_in,
    processes_in,
    read_stat,
    send_signal,
)

PATIENCE_S = 10.0

FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '300'])"])
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, str(os.getpid()).encode())
        os.close(1)
        time.sleep(300)
    os._exit(0)
os.wait()
print(child.pid, os.read(read, 32).decode(), flush=True)
time.sleep(300)
"""


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def identity(pid: int) -> Process:
    stat = read_stat(pid)
    assert stat is not None
    return stat.process


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "300"], cwd=tmp_path) as process:
        yield process
        process.kill()


def test_this_process_is_alive_and_no_earlier_one_with_its_pid_is() -> None:
    process = identity(os.getpid())
    assert is_alive(process)
    assert not is_alive(Process(process.pid, process.started - 1))


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    process = identity(sleeper.pid)
    sleeper.kill()
    wait_until(lambda: not is_alive(process))
    assert Path(f"/proc/{sleeper.pid}").exists()
    assert open_pidfd(process) is None
    assert not send_signal(process, signal.SIGKILL)


def test_a_name_with_parentheses_and_spaces_is_read_over(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "300"]) as process:
        wait_until(lambda: b"a) R 1 (b" in Path(f"/proc/{process.pid}/stat").read_bytes())
        stat = read_stat(process.pid)
        assert stat is not None
        assert stat.parent == os.getpid()
        process.kill()


def test_a_signal_goes_to_the_process_meant_or_to_none(sleeper: subprocess.Popen[bytes]) -> None:
    process = identity(sleeper.pid)
    assert not send_signal(Process(process.pid, process.started + 1), signal.SIGKILL)
    assert is_alive(process)
    kill_tree(Process(process.pid, process.started + 1))
    assert is_alive(process)
    assert send_signal(process, signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL


def test_processes_are_found_by_their_working_directory(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    process = identity(sleeper.pid)
    assert processes_in(tmp_path) == [process]
    assert process_in(tmp_path, sleeper.pid) == process
    assert process_in(tmp_path / "other", sleeper.pid) is None
    assert process_in(Path(f"{tmp_path}-longer"), sleeper.pid) is None


def test_a_tree_dies_and_a_watchdog_that_detached_itself_lives() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE) as root:
        assert root.stdout is not None
        child_pid, watchdog_pid = map(int, root.stdout.readline().split())
        grandchild: list[Process] = []

        def grandchild_is_there() -> bool:
            pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
            stats = [stat for pid in pids if (stat := read_stat(pid)) and stat.parent == child_pid]
            grandchild[:] = [stat.process for stat in stats]
            return bool(stats)

        wait_until(grandchild_is_there)
        family = [identity(root.pid), identity(child_pid), *grandchild]
        watchdog = identity(watchdog_pid)

        kill_tree(family[0])

        wait_until(lambda: not any(is_alive(process) for process in family))
        assert is_alive(watchdog)
        assert send_signal(watchdog, signal.SIGKILL)
