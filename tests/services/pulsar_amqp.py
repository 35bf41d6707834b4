"""A stock pulsar-app without a web server, which listens to a RabbitMQ, in a folder of its own."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aio_pika

from tesp_api.pulsar.processes import kill_tree, processes_in
from tests.services.install import PULSAR_VENV, install, requirements
from tests.services.rabbitmq import RabbitMQ

START_TIMEOUT_S = 180.0
_POLL_S = 0.05
_LOGGING = """[app:main]
app_config = app.yml
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(asctime)s %(levelname)s %(name)s %(message)s
"""


class AmqpStockPulsar:
    """`with AmqpStockPulsar(broker) as pulsar:` gives a Pulsar; jobs still there at the exit are killed.

    `managers` and `settings` go into its app.yml.

    Raises:
        RuntimeError: Pulsar did not start; the text ends with the tail of its log.
    """

    def __init__(
        self,
        broker: RabbitMQ,
        *,
        url: str | None = None,
        managers: dict[str, dict[str, Any]] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._url = url or broker.url
        self._managers = managers or {"_default_": {"type": "queued_python"}}
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        install(PULSAR_VENV, requirements(PULSAR_VENV))
        self.folder = Path(tempfile.mkdtemp(prefix="amqp-pulsar-"))
        self.staging = self.folder / "staging"
        self.log = self.folder / "pulsar.log"
        self._write_config()
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for process in processes_in(self.staging.resolve()):
            kill_tree(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start Pulsar and return when it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(PULSAR_VENV / "bin" / "pulsar-main"), "-c", str(self.folder)],
                cwd=self.folder,
                env={"PATH": f"{PULSAR_VENV / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(
                    f"Pulsar did not start within {START_TIMEOUT_S:g} s; its log ends:\n{tail}"
                )
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """kill -9, without a word to its jobs, which are in groups of their own."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """kill -9, and start again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _listens(self) -> bool:
        with ThreadPoolExecutor(1) as thread:  # where this is called there may be a loop
            return thread.submit(asyncio.run, self._has_consumers()).result()

    async def _has_consumers(self) -> bool:
        """Whether each queue to Pulsar has a consumer (RabbitMQ forgets one that was killed at once)."""
        with contextlib.suppress(aio_pika.exceptions.AMQPError, OSError):
            async with await aio_pika.connect(self._url) as connection, connection.channel() as channel:
                for purpose in ("setup", "kill", "status"):
                    queue = await channel.declare_queue(f"pulsar__{purpose}", passive=True)
                    if not queue.declaration_result.consumer_count:
                        return False
                return True
        return False

    def _write_config(self) -> None:
        settings = {
            "message_queue_url": self._url,
            "staging_directory": str(self.staging),
            "persistence_directory": str(self.folder / "persistence"),
            "tool_dependency_dir": "none",
            "conda_auto_init": False,
            "managers": self._managers,
            **self._settings,
        }
        (self.folder / "server.ini").write_text(_LOGGING)
        (self.folder / "app.yml").write_text(json.dumps(settings, indent=2))  # JSON is YAML too

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
