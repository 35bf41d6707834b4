"""A real RabbitMQ on free loopback ports, in a folder of its own, to be killed, halted and restarted."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.authority import Authority
from tests.services.tesp import free_port

START_TIMEOUT_S = 180.0
USER, PASSWORD = "tesp", "hush-hush-broker"
_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
_POLL_S = 0.05


class RabbitMQ:
    """`with RabbitMQ() as broker:` gives a running broker; `broker.url` is what clients need.

    With an authority it speaks TLS too, at `broker.tls_url`.

    Raises:
        RuntimeError: it did not start; the text ends with the tail of its log.
    """

    def __init__(self, authority: Authority | None = None) -> None:
        self._authority, self._tls_port = authority, free_port()
        self.tls_url = f"amqps://{USER}:{PASSWORD}@127.0.0.1:{self._tls_port}//"
        self.port, self._names_port = free_port(), free_port()
        self.url = f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}//"
        self._process: subprocess.Popen[bytes] | None = None
        self._names: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        configuration = (
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\n"
        )
        if self._authority is not None:
            configuration += (
                f"listeners.ssl.1 = 127.0.0.1:{self._tls_port}\nssl_options.verify = verify_none\n"
                f"ssl_options.cacertfile = {self._authority.ca}\n"
                f"ssl_options.certfile = {self._authority.certificate}\n"
                f"ssl_options.keyfile = {self._authority.private_key}\n"
            )
        (self.folder / "rabbitmq.conf").write_text(configuration)
        (self.folder / "plugins").write_text("[].")
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
        if self._names is not None:
            self._names.kill()
            self._names.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the broker, with the queues that it had, and return when it takes connections."""
        program = _PROGRAMS / "rabbitmq-server"
        if not program.exists():
            raise RuntimeError(f"there is no {program}: `make test-services` installs rabbitmq-server")
        if self._names is None:  # Erlang's name server, which a broker would start as a daemon
            command = ["epmd", "-port", str(self._names_port), "-address", "127.0.0.1"]
            self._names = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=self.folder)
        self._distribution_port = free_port()  # as late as possible: others take free ports, too
        log = self.folder / "rabbitmq.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [program],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._takes_connections():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(f"RabbitMQ did not start; its log ends:\n{tail}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """kill -9: messages that are persistent and confirmed stay."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """kill -9, and start again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"tesp{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _takes_connections(self) -> bool:
        """A broker answers a header that it does not know with the one that it wants."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
            probe.sendall(b"AMQP\x00\x00\x00\x00")
            return probe.recv(4) == b"AMQP"
        return False

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group: Erlang's runtime has helpers of its own."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
