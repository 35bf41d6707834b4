"""Container runtimes for the tests: a running Docker daemon, and the image `busybox:latest` in it."""

import atexit
import contextlib
import fcntl
import io
import shutil
import subprocess
import tarfile
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import IO

IMAGE = "busybox:latest"
BUSYBOX = Path("/usr/bin/busybox")
START_TIMEOUT_S = 40.0
_USERS = Path(tempfile.gettempdir()) / "tesp-tests-docker-users.lock"
_HELD: list[IO[str]] = []
_STARTING = Path(tempfile.gettempdir()) / "tesp-tests-docker-start.lock"


class ServiceUnavailable(Exception):
    """A service that the tests need does not start; the text says why."""


@cache
def require_docker() -> None:
    """See that dockerd answers and has `busybox:latest`. Raises: ServiceUnavailable.

    Safe to call from several processes: one of them starts it, and ends it when all of them are through.
    """
    _use_daemon()
    if _run(["docker", "image", "inspect", IMAGE]).returncode != 0:
        done = _run(["docker", "import", "--change", 'CMD ["sh"]', "-", IMAGE], busybox_root())
        if done.returncode != 0:
            raise ServiceUnavailable(f"docker import failed: {done.stderr.decode()}")


@cache
def require_podman() -> None:
    """See that podman has `busybox:latest`, taken from Docker. Raises: ServiceUnavailable."""
    require_docker()
    if _run(["podman", "image", "exists", f"docker.io/library/{IMAGE}"]).returncode == 0:
        return
    saved = _run(["docker", "save", IMAGE])
    loaded = _run(["podman", "load"], saved.stdout)
    tagged = _run(["podman", "tag", f"localhost/{IMAGE}", f"docker.io/library/{IMAGE}"])
    if loaded.returncode != 0 or (tagged.returncode != 0 and b"localhost" in loaded.stdout):
        raise ServiceUnavailable(f"podman load failed: {loaded.stderr.decode()}{tagged.stderr.decode()}")


def busybox_root() -> bytes:
    """A root file system as tar: Debian's static busybox under all its names."""
    if not BUSYBOX.exists():
        raise ServiceUnavailable("no /usr/bin/busybox: apt-get install busybox-static")
    applets = _run([str(BUSYBOX), "--list"]).stdout.decode().split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "root", "usr", "usr/bin", "var"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(BUSYBOX, "bin/busybox")
        for applet in applets:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                tar.addfile(entry)
        users = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(users)
        tar.addfile(entry, io.BytesIO(users))
    return buffer.getvalue()


def _docker_answers() -> bool:
    try:
        return _run(["docker", "version"]).returncode == 0
    except FileNotFoundError:
        raise ServiceUnavailable("no docker on the PATH: apt-get install docker.io iptables") from None


def _use_daemon() -> None:
    users = _USERS.open("a")  # held, and locked for sharing, until this process ends
    with _STARTING.open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not _docker_answers():
            _start_daemon(users)
    _HELD.append(users)


def _start_daemon(users: IO[str]) -> None:
    """Start dockerd where every client looks for it; it ends with the tests."""
    log = Path(tempfile.mkdtemp(prefix="tesp-dockerd-")) / "log"
    deadline = time.monotonic() + START_TIMEOUT_S
    daemon: subprocess.Popen[bytes] | None = None
    while not _docker_answers():
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"dockerd does not start; its log ends: {log.read_text()[-1000:]}")
        if daemon is None or daemon.poll() is not None:  # an earlier one may still be ending
            with log.open("ab") as file:
                daemon = subprocess.Popen(["dockerd"], stdout=file, stderr=file, start_new_session=True)
        time.sleep(0.1)
    if daemon is not None:
        atexit.register(_stop_daemon, daemon, log.parent, users)


def _stop_daemon(daemon: subprocess.Popen[bytes], folder: Path, users: IO[str]) -> None:
    fcntl.flock(users, fcntl.LOCK_EX)  # once nobody else uses it
    daemon.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.wait(timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


def _run(argv: list[str], given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, input=given, capture_output=True, check=False)
