"""The services of docker/dts, as a user starts them: images built here, started by Compose."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.services.containers import ServiceUnavailable, require_docker
from tests.services.tesp import free_port, poll
from tests.services.vsftpd import free_ports

FOLDER = Path(__file__).resolve().parents[2] / "docker" / "dts"
BASE = "debian:bookworm-slim"
SERVICES = ("http", "ftp", "s3")
MIRROR = "http://deb.debian.org/debian"
HEALTHY_TIMEOUT_S = 240.0


class Dts:
    """`with Dts() as dts:`; `ports` are by the names that .env has for them."""

    def __init__(self) -> None:
        data = free_ports()
        self.ports = {f"DTS_{name}_PORT": str(free_port()) for name in ("HTTP", "FTP", "S3")}
        self._environment = {
            **os.environ,
            **self.ports,
            "DTS_FTP_DATA_PORTS": f"{data[0]}-{data[-1]}",
            "COMPOSE_PROJECT_NAME": f"tesp-dts-{os.getpid()}",
        }

    def compose(self, *command: str) -> str:
        """What Compose prints. Raises: ServiceUnavailable with what it says."""
        return _run(["docker-compose", *command], self._environment)

    def with_ports(self, text: str) -> str:
        """A text about the services with the ports that they have now."""
        for line in (FOLDER / ".env").read_text().splitlines():
            name, _, port = line.partition("=")
            if name in self.ports:
                text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[name]}")
        return text

    def __enter__(self) -> "Dts":
        require_docker()
        if shutil.which("docker-compose") is None:
            raise ServiceUnavailable("docker-compose is not installed: make test-services does it")
        require_debian()
        for service in SERVICES:
            _run(["docker", "build", "--network", "host", "--tag", f"tesp-dts-{service}", service])
        try:
            self.compose("up", "--detach", "--no-build")
            poll(self._is_healthy, timeout_s=HEALTHY_TIMEOUT_S, every_s=0.5, why="docker/dts is not healthy")
        except BaseException:
            self.__exit__()
            raise
        return self

    def addresses(self) -> set[str]:
        """Where the services listen on this machine."""
        bound = [json.loads(line) for line in self._inspect("{{json .NetworkSettings.Ports}}")]
        return {each["HostIp"] for ports in bound for at in ports.values() for each in at or ()}

    def _is_healthy(self) -> bool:
        return self._inspect("{{.State.Health.Status}}") == ["healthy"] * len(SERVICES)

    def _inspect(self, template: str) -> list[str]:
        containers = self.compose("ps", "-q").split()
        return _run(["docker", "inspect", "--format", template, *containers]).split()

    def __exit__(self, *_: object) -> None:
        self.compose("down", "--volumes", "--timeout", "2")


def _run(argv: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceUnavailable(f"{' '.join(argv[:3])} failed: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


def require_debian() -> None:
    """See that Docker has Debian, made here: where there is no registry, it cannot be pulled."""
    with contextlib.suppress(ServiceUnavailable):
        _run(["docker", "image", "inspect", BASE])
        return
    with _debian() as root:
        packed = f"tar -C {root} -c . | docker import --change 'CMD [\"bash\"]' - {BASE}"
        _run(["bash", "-o", "pipefail", "-c", packed])


@contextlib.contextmanager
def _debian() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tesp-debian-", ignore_cleanup_errors=True) as folder:
        _run(["debootstrap", "--variant=minbase", "bookworm", folder, MIRROR])
        yield Path(folder)
