"""What every container runtime offers to the worker, and what both sides hand over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import IO, Any, Callable, NamedTuple, Protocol, Sequence

from ..cancellation import Cancellation
from ..errors import SystemFailure, Unusable
from ..mounts import Bind
from ..order import Confinement
from ..process import run_command

MEMORY_MIN_BYTES = 6 * 1024 * 1024
"""The least that Docker and podman take for a limit."""


class Run(NamedTuple):
    """One executor's container.

    What is made before its launch is told to `guard`, for the watchdog: the commands that undo it, and the
    process that makes it. `check` raises `Canceled`; to be called while something is waited for.
    """

    name: str
    labels: dict[str, str]
    image: str
    command: tuple[str, ...]
    workdir: str | None
    env: dict[str, str]
    with_stdin: bool
    binds: tuple[Bind, ...]
    network: str
    cpus: float | None
    memory_bytes: int | None
    confinement: Confinement = Confinement()
    guard: Callable[[list[list[str]], int | None], None] = lambda commands, pid: None
    check: Callable[[], None] = lambda: None


class Process(Protocol):
    """What stands for a container while it runs: a `Popen`, or what has as much of its shape."""

    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    @property
    def pid(self) -> int | None:
        """Of the process that is to be killed with the worker; None if there is none."""

    def poll(self) -> int | None:
        """As that of `Popen`, as all of these."""

    def wait(self, timeout: float | None = None) -> int:
        """Raises: subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """Nobody waits for it any more."""


class Launch(NamedTuple):
    """How to start the process that stands for a container; `popen` are arguments for `Popen`.

    Where there is `start`, that is called with the standard input instead, as `Popen` takes it.

    `on_death` are the commands with which the watchdog ends the container if the worker dies;
    `descriptors` are to be closed once the process runs; `notes` go to the task's `system_logs`.
    """

    argv: list[str]
    popen: dict[str, Any]
    on_death: list[list[str]]
    descriptors: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    start: Callable[[int], Process] | None = None


def start(launch: Launch, stdin: int) -> Process:
    """Start it. Raises: SystemFailure."""
    if launch.start is not None:
        return launch.start(stdin)
    try:
        return subprocess.Popen(
            launch.argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            **launch.popen,
        )
    except OSError as error:
        raise SystemFailure(f"Cannot start {launch.argv[0]}: {error.strerror}") from error
    finally:
        for descriptor in launch.descriptors:
            os.close(descriptor)


class Outcome(NamedTuple):
    """How a container ended; `notes` go to the task's `system_logs`."""

    exit_code: int
    notes: tuple[str, ...] = ()


class Runtime(Protocol):
    """A container runtime at this site. Its constructor raises `Unusable` where it does not work."""

    description: str
    """Name and version, as in "docker 20.10.24"."""

    notes: tuple[str, ...]
    """What a user should know of this runtime, for `system_logs`."""

    def check_image(self, image: str, cancellation: Cancellation) -> None:
        """See that the image is here, and pull it if it is not. Raises: SystemFailure, Canceled."""

    def why_not_mounted(self, bind: Bind, trial: Run) -> str | None:
        """Why this, of a shared folder, cannot be mounted here by more than its path; None if it can.

        `trial` is who may try it. Raises: SystemFailure if it was replaced by a link; Canceled.
        """

    def check_captures(self, paths: Sequence[str]) -> None:
        """Raises: SystemFailure if files at these system paths cannot be captured here."""

    def launch(self, run: Run) -> Launch:
        """Prepare the start of a container. Raises: SystemFailure."""

    def outcome(self, run: Run, returncode: int, stderr_tail: bytes) -> Outcome:
        """Judge the end of the launched process.

        A command that is not there has exit code 127, one that cannot be executed 126.

        Raises: SystemFailure if the runtime itself failed; its own message is in the text.
        """

    reclaiming_program: str | None
    """The docker program, where it takes one to remove the files of a container; for the watchdog."""

    def kill(self, run: Run, pid: int | None) -> None:
        """End the container now; `pid` leads the launched process group, None once that is over.

        Safe before the container exists and after it ended; may be repeated.
        """

    def capture(self, run: Run, path: str, destination: str) -> bool:
        """Copy a file or directory out of the stopped container; False if it is not there."""

    def new_files(self, run: Run) -> list[str]:
        """The paths that the stopped container added or changed, outside of its mounts."""

    def remove(self, run: Run) -> None:
        """Remove what the stopped container left at the site."""

    def reclaim(self, tree: str) -> None:
        """Make the worker's user the owner of all below `tree`; does nothing where it is already.

        Raises: SystemFailure.
        """

    def leftovers(self) -> list[tuple[str, str]]:
        """(container, value of its label `tesp.worker`) of every container of any worker here."""

    def remove_leftover(self, container: str) -> None:
        """Remove a container that `leftovers` told of."""


def kill_group(pid: int | None) -> None:
    """Kill a process group; does nothing if it is gone."""
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def find_program(name: str) -> str:
    """Raises: Unusable if no such program is on the PATH."""
    program = shutil.which(name)
    if program is None:
        raise Unusable(f"no program {name} on the PATH")
    return program


def version_of(program: str) -> str:
    """The last word of what `--version` prints. Raises: Unusable if it fails."""
    code, text = run_command([program, "--version"])
    if code != 0:
        raise Unusable(f"`{program} --version` failed: {text[-300:]}")
    return text.split()[-1] if text else "?"


def require_image_name(image: str) -> None:
    """Raises: SystemFailure for a name that could be read as an option or is empty."""
    if not image or image.startswith("-") or "\0" in image:
        raise SystemFailure(f"The image name {image!r} is refused")


def mount_option(bind: Bind, target_key: str = "target") -> str:
    """A bind as the value of `--mount`: one line of CSV, so any path can be told.

    Raises: SystemFailure for a path with a line break, which that syntax cannot tell.
    """
    fields = ["type=bind", f"source={bind.source}", f"{target_key}={bind.target}"]
    if not bind.writable:
        fields.append("readonly" if target_key == "target" else "ro")
    return as_csv(bind, fields)


def as_csv(bind: Bind, fields: Sequence[str]) -> str:
    """The fields of a mount as one line. Raises: SystemFailure for a path with a line break."""
    if any(sign in bind.source + bind.target for sign in "\r\n"):
        raise SystemFailure(f"The path {bind.target!r} cannot be mounted: it has a line break")
    return ",".join(
        '"' + field.replace('"', '""') + '"' if any(sign in field for sign in ',"') else field
        for field in fields
    )


def write_private(path: str, data: bytes) -> None:
    """Write a file that only this user can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
