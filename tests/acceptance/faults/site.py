"""What is still at a site: directories of jobs, processes, containers, user data and secrets."""

import contextlib
import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from tesp_api.pulsar.processes import all_pids, read_stat
from tests.services.secret_search import SecretSearch


def left_of_jobs(staging: Path, ids: Collection[str]) -> list[str]:
    """The directories of jobs of these tasks."""
    names = os.listdir(staging) if staging.is_dir() else []  # noqa: PTH208
    return sorted(name for name in names if name[:36] in ids)


def processes_of_jobs(staging: Path, ids: Collection[str]) -> list[str]:
    """Workers, watchdogs, sandboxes and whatever else runs for these tasks, each with its command line.

    A watchdog has left its job's directory, but not its environment. Where workers are forked, it looks like
    their nursery, but for the nursery's socket.
    """
    nursery = os.fsencode(f"{staging.parent}/nursery/worker.pyz")
    marks = [os.fsencode(f"{staging}/{task_id}") for task_id in ids]
    found = []
    for pid in all_pids():
        stat = read_stat(pid)
        if stat is None or not stat.alive or pid == os.getpid():
            continue
        command = _of_process(pid, "cmdline")
        seen = command + b"\0" + _of_process(pid, "environ") + b"\0" + _place(pid)
        is_forked = nursery in command and not _has_socket(pid)
        if is_forked or any(mark in seen for mark in marks):
            shown = command.replace(b"\0", b" ").decode(errors="replace")[:200]
            found.append(f"{pid}: {shown}")
    return found


def containers_of_jobs(ids: Collection[str]) -> list[str]:
    """Docker's containers of these tasks, running or not."""
    command = ["docker", "ps", "--all", "--format", '{{.ID}} {{.Label "tesp.task"}} {{.Status}}']
    listed = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30)
    return [line for line in listed.stdout.splitlines() if line.split()[1:2] and line.split()[1] in ids]


def secrets_below(folders: Collection[Path], secrets: Mapping[str, str]) -> list[str]:
    """Where in these folders any of the secrets is, in whatever form."""
    search = SecretSearch(secrets)
    for folder in folders:
        search.look_below(str(folder), folder)
    return sorted(f"{what} in {where}" for what, where in search.found)


def _of_process(pid: int, part: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{part}").read_bytes()
    return b""


def _has_socket(pid: int) -> bool:
    """Also if it is gone, or does not show its descriptors."""
    try:
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return True
    return any(link.startswith("socket:") for link in links)


def _place(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.fsencode(Path(f"/proc/{pid}/cwd").readlink()) + b"/"
    return b""
