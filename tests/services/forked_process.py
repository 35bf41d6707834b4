"""A server forked from a process that has imported everything: it is up in a tenth of the time."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tesp_api.cli.http_protocol import KEEP_ALIVE_S

_DIE_WITH_PARENT = 1
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.services.imported_first"])


class ForkedProcess(subprocess.Popen[bytes]):
    """`uvicorn APP`, with the part of a `Popen` that is used of it. It dies with the tests."""

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path, port: int, app: str) -> None:
        arguments = (dict(environment), str(folder), str(log), port, app)
        self._process = _context.Process(target=_serve, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __del__(self) -> None:
        """Nothing is to be collected: the fork server is its parent."""

    @property
    def returncode(self) -> int | None:  # type: ignore[override]
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("the server", timeout or 0)
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _serve(environment: Mapping[str, str], folder: str, log: str, port: int, app: str) -> None:
    """What the new process does."""
    import uvicorn

    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, descriptor)
    uvicorn.run(app, port=port, access_log=False, timeout_keep_alive=KEEP_ALIVE_S)
