"""A moto server: S3 as far as a client sees, but any signature and any form will do."""

import contextlib
import socket
import subprocess
import tempfile
import time
from types import TracebackType

from tests.services.install import MOTO_VENV, install
from tests.services.pulsar_rest import free_port
from tests.services.s3_servers import S3Place

START_TIMEOUT_S = 60.0


class Moto:
    """`with Moto() as place:` gives a running server.

    Raises:
        RuntimeError: it did not start; the text ends with the tail of its log.
    """

    def __enter__(self) -> S3Place:
        install(MOTO_VENV)
        port = free_port()
        command = [str(MOTO_VENV / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                tail = self._log.read()[-3000:].decode(errors="replace")
                self.__exit__(None, None, None)
                raise RuntimeError(f"moto did not start; its log ends:\n{tail}")
            time.sleep(0.05)
        return S3Place("moto", port, "testing", "any-secret-will-do")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
