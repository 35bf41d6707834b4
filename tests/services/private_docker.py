"""A Docker daemon of one's own, which may be killed and started again beside the machine's. Takes root."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tesp_api.pulsar.processes import all_pids
from tests.services.containers import IMAGE, busybox_root

START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05


class PrivateDocker:
    """`with PrivateDocker(folder) as docker:` has `busybox:latest`, and no network for containers.

    It has a network namespace of its own, since a daemon without a bridge takes away that of the machine's
    own daemon. All that it keeps is in the folder, which it makes and removes. `docker.host` is what
    DOCKER_HOST must be.
    With `live_restore`, containers outlive the daemon.

    Raises:
        RuntimeError: it did not start; the text ends with the tail of its log.
    """

    def __init__(self, folder: Path, *, live_restore: bool = False) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/socket"
        self._live_restore = live_restore
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir()
        try:
            self._start_containerd()
            self.start()
            self.run("import", "--change", 'CMD ["sh"]', "-", IMAGE, given=busybox_root())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            for container in self.run("ps", "--all", "--quiet").split():
                self.run("rm", "--force", container)
            _end(self._process, signal.SIGTERM)
        _end(self._containerd, signal.SIGTERM)
        for pid in self._shims():
            os.kill(pid, signal.SIGKILL)
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for place in reversed(
            [line.split()[1] for line in mounts if line.split()[1].startswith(f"{self.folder}/")]
        ):
            subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"DOCKER_HOST": self.host}

    def _start_containerd(self) -> None:
        """Apart from the daemon, as distributions start it: it lives on when that is killed."""
        folder = self.folder
        (folder / "containerd.toml").write_text(
            f'version = 2\nroot = "{folder}/containerd/root"\nstate = "{folder}/containerd/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{folder}/containerd.sock"\n'
        )
        self._containerd = self._spawn(["containerd", f"--config={folder}/containerd.toml"])

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["unshare", "--net", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the daemon and return when it answers."""
        folder = self.folder
        command = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", "-H", self.host]
        command += [f"--pidfile={folder}/pid", "--bridge=none", "--iptables=false", "--ip-masq=false"]
        command += [
            f"--containerd={folder}/containerd.sock",
            *(["--live-restore"] if self._live_restore else []),
        ]
        self._process = self._spawn(command)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._docker("version").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (folder / "log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"dockerd did not start; its log ends:\n{tail}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """kill -9 of the daemon; containers run on."""
        _end(self._process, signal.SIGKILL)
        self._process = None

    def run(self, *arguments: str, given: bytes | None = None) -> str:
        """What a docker command prints; it must succeed."""
        done = self._docker(*arguments, given=given)
        if done.returncode != 0:
            raise RuntimeError(f"docker {arguments[0]}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def _docker(self, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            ["docker", *arguments], input=given, capture_output=True, check=False, env=environment
        )

    def _shims(self) -> list[int]:
        """The processes of containerd, one for each container, that a killed daemon has left."""
        found = []
        for pid in all_pids():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if (
                command.partition(b"\0")[0].endswith(b"containerd-shim-runc-v2")
                and os.fsencode(self.folder) in command
            ):
                found.append(pid)
        return found


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None:
        process.send_signal(number)
        try:
            process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
