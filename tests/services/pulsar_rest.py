"""A stock pulsar-app with its web server, on a free loopback port, in a folder of its own."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tesp_api.pulsar.processes import all_pids, kill_tree, processes_in, read_stat
from tests.services.install import PULSAR_VENV, install, requirements

PRIVATE_TOKEN = "stock-pulsar-token"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_open(path: Path) -> bool:
    """Whether every user can reach what lies below the path."""
    there = [folder for folder in (path, *path.parents) if folder.exists()]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in there)


class StockPulsar:
    """`with StockPulsar() as pulsar:` gives a running Pulsar; jobs still there at the exit are killed.

    `managers` and `settings` go into its app.yml, `environment` into that of Pulsar and its jobs; with `user`
    everything runs as that ordinary user.

    Raises:
        RuntimeError: Pulsar did not start; the text ends with the tail of its log.
    """

    def __init__(
        self,
        *,
        private_token: str = PRIVATE_TOKEN,
        managers: dict[str, dict[str, Any]] | None = None,
        settings: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.private_token = private_token
        self._managers = managers or {"_default_": {"type": "queued_python"}}
        self._settings = settings or {}
        self._environment = environment or {}
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="stock-pulsar-"))
        self._venv = PULSAR_VENV if self._user is None or _is_open(PULSAR_VENV) else self.folder / "venv"
        install(self._venv, requirements(PULSAR_VENV))
        self.staging = self.folder / "staging"
        self.log = self.folder / "pulsar.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._write_config()
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    @property
    def pid(self) -> int:
        """The process id of gunicorn's master, which is also its process group."""
        if self._process is None:
            raise RuntimeError("Pulsar is not running")
        return self._process.pid

    def start(self) -> None:
        """Start Pulsar and return when it answers."""
        env = {"PATH": f"{self._venv / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder)}
        env |= self._environment
        user = pwd.getpwnam(self._user) if self._user else None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._venv / "bin" / "pulsar-serve"), str(self.folder / "server.ini")],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=os.getgrouplist(user.pw_name, user.pw_gid) if user else None,
            )
        self._wait_until_healthy()

    def kill(self) -> None:
        """kill -9 of the web server, without a word to its jobs, which are in groups of their own."""
        self._end_group(signal.SIGKILL)

    def stop(self) -> None:
        """End the web server as an administrator would; jobs go on."""
        self._end_group(signal.SIGTERM)

    def restart(self) -> None:
        """Start Pulsar again on the same port and folder, killing it first if it runs."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections are made, and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.killpg(self.pid, signal.SIGCONT)

    def _write_config(self) -> None:
        settings = {
            "private_token": self.private_token,
            "staging_directory": str(self.staging),
            "persistence_directory": str(self.folder / "persistence"),
            "tool_dependency_dir": "none",
            "conda_auto_init": False,
            "managers": self._managers,
            **self._settings,
        }
        # JSON is YAML too
        (self.folder / "app.yml").write_text(json.dumps(settings, indent=2))
        (self.folder / "server.ini").write_text(
            f"[server:main]\nhost = 127.0.0.1\nport = {self.port}\n\n[app:main]\napp_config = app.yml\n"
        )
        if self._user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, self._user)

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            with contextlib.suppress(httpx.TransportError):
                query = {"private_token": self.private_token}
                address = f"{self.url}/managers/{next(iter(self._managers))}/healthz"
                answer = httpx.get(address, params=query, timeout=5, trust_env=False)
                if answer.status_code == 200:
                    return
            time.sleep(POLL_S)
        tail = self.log.read_text(errors="replace")[-3000:]
        self.kill()
        raise RuntimeError(f"Pulsar did not start within {START_TIMEOUT_S:.0f} s; its log ends:\n{tail}")

    def _end_group(self, wanted: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while members(process.pid):
            overdue = time.monotonic() > deadline
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL if overdue else wanted)
            time.sleep(POLL_S)
        process.wait()

    def _remove(self) -> None:
        self.stop()
        for process in processes_in(self.staging.resolve()):
            kill_tree(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def members(group: int) -> list[int]:
    """The live processes of a process group; zombies whose parent is slow do not count."""
    found = []
    for pid in all_pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group and (stat := read_stat(pid)) is not None and stat.alive:
                found.append(pid)
    return found
