"""Our own server as a user runs it: a process on a free port that can be killed and restarted."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tesp_api.cli.http_protocol import KEEP_ALIVE_S
from tesp_api.pulsar.processes import kill_tree, processes_in
from tests.services.forked_process import ForkedProcess

START_TIMEOUT_S = 180.0
LOOPBACK_ALLOWED = {"TESP_API_TRANSFERS__LOCAL_NETWORKS": '@json ["127.0.0.0/8", "::1/128"]'}
"""The servers that tests start are on loopback; a test that wants it denied overrides this."""
FINAL = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED", "PREEMPTED"}


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def poll(what: Callable[[], Any], *, timeout_s: float, why: str, every_s: float = 0.02) -> Any:
    """Call `what` until it returns something true, and return that; fail with `why` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := what()):
        assert time.monotonic() < deadline, f"timed out after {timeout_s} s: {why}"
        time.sleep(every_s)
    return value


class TespServer:
    """`with TespServer({"TESP_API_...": "..."}) as server:`; `server.client` speaks to it.

    `environment` overrides settings. The data folder is temporary unless given. `app` names the ASGI
    application, for tests that wrap the real one.
    """

    is_forked = False
    """Whether its process is forked from one that has imported everything; not with `options` or a `user`."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        data: Path | None = None,
        app: str = "tesp_api.tesp_api:app",
        user: str | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="tesp-test-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.data = data or self.folder / "data"
        self.environment = dict(environment or {})
        self.app = app
        self.user = user
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)
        self.options: list[str] = []
        """For uvicorn."""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        file = self.folder / "server.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self, *, wait: bool = True) -> None:
        """Start the process and wait until it is ready; fails with its log if it does not come up."""
        log = self.folder / "server.log"
        if self.is_forked and not self.options and self.user is None:
            environment = self.environment_of_process()
            self.process = ForkedProcess(environment, self.folder, log, self.port, self.app)
        else:
            self.process = self._started(log)
        if wait:
            poll(self.is_ready, timeout_s=START_TIMEOUT_S, why=f"the server does not come up:\n{self.log}")

    def _started(self, file: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "uvicorn", self.app, "--port", str(self.port), "--no-access-log"]
        command += ["--timeout-keep-alive", str(KEEP_ALIVE_S)]
        command += self.options
        with file.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment_of_process(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.user,
                start_new_session=True,
            )

    def environment_of_process(self) -> dict[str, str]:
        """All that the process has."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TESP_", "FASTAPI_"))}
        repository = str(Path(__file__).parents[2])
        return inherited | {
            "PYTHONPATH": repository,
            "TESP_API_DATA_DIR": str(self.data),
            **LOOPBACK_ALLOWED,
            **self.environment,
        }

    def is_ready(self) -> bool:
        """Whether it takes requests; fails if it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"the server exited {self.process.returncode}:\n{self.log}"
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """kill -9 of the server alone; its jobs go on."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: its connections stay, and it does not answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM, as an operator stops it."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=60)

    def create(self, task: Mapping[str, Any]) -> str:
        """Post a task; returns its id."""
        answer = self.client.post("/ga4gh/tes/v1/tasks", json=task)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def get(self, task_id: str, view: str = "FULL") -> dict[str, Any]:
        """The task in a view."""
        answer = self.client.get(f"/ga4gh/tes/v1/tasks/{task_id}", params={"view": view})
        assert answer.status_code == 200, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def wait(self, task_id: str, *, states: set[str] = FINAL, timeout_s: float = 60) -> dict[str, Any]:
        """Wait until the task is in one of the states; returns its FULL view."""
        poll(
            lambda: self.get(task_id, "MINIMAL")["state"] in states,
            timeout_s=timeout_s,
            why=f"task {task_id} is not in {sorted(states)}; server log:\n{self.log[-3000:]}",
        )
        return self.get(task_id)

    def run(self, task: Mapping[str, Any], *, timeout_s: float = 60) -> dict[str, Any]:
        """Create a task and wait for its end; returns its FULL view."""
        return self.wait(self.create(task), timeout_s=timeout_s)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if error is not None:  # a test that fails leaves jobs behind; their watchdogs do the rest
            for job in processes_in(self.data.resolve()):
                kill_tree(job)
        self._temporary.cleanup()


ONLY_BUBBLEWRAP = {
    "TESP_API_DESTINATIONS__LOCAL__RUNTIMES": "@json []",
    "TESP_API_DESTINATIONS__LOCAL__ALLOW_BUBBLEWRAP": "true",
}
ONLY_DOCKER = {"TESP_API_DESTINATIONS__LOCAL__RUNTIMES": '@json ["docker"]'}
