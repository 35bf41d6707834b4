"""Bubblewrap: the host's own programs in a sandbox, for machines without any container runtime.

The sandbox sees /usr, /bin and /lib* read-only, a few named files of /etc, its own /proc and /dev,
and the task's files; no home, no Docker socket, nothing else of the host. Its root is a fresh
private directory for each executor, so whatever is written outside of the task's mounts can be
found there.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import stat
from typing import Sequence

from ..cancellation import Cancellation
from ..cgroups import begun_inside
from ..errors import SystemFailure
from ..job import make_directories
from ..mounts import Bind, is_below
from ..process import run_command
from ..removal import remove_for_certain
from ..view import View
from .base import (
    Launch,
    Outcome,
    Run,
    find_program,
    kill_group,
    require_image_name,
    version_of,
)
from .limits import Limits
from .shared import by_private_places, open_shared, why_no_private_places

HOST_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
HOST_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/alternatives",
)
NETWORK_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ca-certificates.conf",
)
# Root writes these as their owner, without any capability, and core_pattern names a program the host runs.
# bwrap by itself covers only what may be written as a whole.
KERNEL_SETTINGS = (
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/scsi",
    "/proc/acpi",
)
DEFAULT_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - of the sandbox
EXEC_FAILED = re.compile(rb"bwrap: execvp .*: ([^\n:]+)\s*\Z")
EXEC_EXIT_CODES = {b"No such file or directory": 127, b"Not a directory": 127}
EXEC_OTHERWISE = 126
PRIVATE_FAILED = 125


class Bubblewrap:
    """Sandboxes by `bwrap`."""

    reclaiming_program: str | None = None
    notes: tuple[str, ...] = (
        "Bubblewrap ran this task: its image was NOT used, the programs of the host ran in a sandbox",
    )

    def __init__(self, extra: Sequence[str], scratch: str) -> None:
        self._program = find_program("bwrap")
        self._extra = tuple(extra)
        self._scratch = scratch
        version = version_of(self._program)
        self.description = f"bubblewrap {version}"
        self._disables_userns = may_disable_userns(version, self._program)
        self._limits: dict[str, Limits] = {}
        self._statuses: dict[str, int] = {}

    def check_image(self, image: str, cancellation: Cancellation) -> None:
        require_image_name(image)

    def why_not_mounted(self, bind: Bind, trial: Run) -> str | None:
        return None if self._takes_descriptors() else why_no_private_places()

    def check_captures(self, paths: Sequence[str]) -> None:
        """All that is written lands in the sandbox's root, and is found there."""

    def launch(self, run: Run) -> Launch:
        root = self._root(run)
        make_root(root)
        if run.workdir and not any(is_below(run.workdir, bind.target) for bind in run.binds):
            with contextlib.suppress(OSError):  # below /usr: bwrap says what is wrong with it
                make_directories(root + run.workdir)
        limits = self._limits[run.name] = Limits(run)
        opened = open_shared(run)
        before: list[str] = []
        taken = opened
        if opened and not self._takes_descriptors():
            taken = {}
            run, before = by_private_places(run, opened, self._scratch, PRIVATE_FAILED)
        system = [path for path in HOST_SYSTEM if is_real_directory(path)]
        options = sandbox_options(run, root, system, taken, self._disables_userns)
        arguments = os.memfd_create("bwrap-arguments")  # not on the command line: the environment is in it
        os.write(arguments, b"".join(os.fsencode(option) + b"\0" for option in options))
        os.lseek(arguments, 0, os.SEEK_SET)
        # not on the disk: where that is full, bwrap would die and leave its child waiting for ever
        status = os.memfd_create(f"{run.name}.status")
        self._statuses[run.name] = os.dup(status)
        argv = [*before, self._program, "--json-status-fd", str(status), "--args", str(arguments)]
        argv += [*self._extra, "--", *run.command]
        descriptors = (arguments, status, *opened.values())
        # What bwrap is not told of, it does not close: the program would have it, and with it all beneath.
        popen = {"pass_fds": (arguments, status, *taken.values()), "env": {}}
        argv = begun_inside(limits.groups, argv)
        return Launch(argv, popen, limits.on_death(), descriptors, limits.launch_notes)

    def _takes_descriptors(self) -> bool:
        return "--bind-fd" in run_command([self._program, "--help"])[1]

    def _root(self, run: Run) -> str:
        return os.path.join(self._scratch, f"{run.name}.root")

    def outcome(self, run: Run, returncode: int, stderr_tail: bytes) -> Outcome:
        """bwrap tells the exit code of a command in its status file, so without one none ever ran."""
        notes = self._limits.pop(run.name).end()
        with open(self._statuses.pop(run.name), encoding="utf-8") as file:
            file.seek(0)  # bwrap has left it at the end
            statuses = [json.loads(line) for line in file if line.strip()]
        for status in statuses:
            if "exit-code" in status:
                return Outcome(int(status["exit-code"]), notes)
        failed = EXEC_FAILED.search(stderr_tail)
        if failed:
            return Outcome(EXEC_EXIT_CODES.get(failed.group(1), EXEC_OTHERWISE), notes)
        if returncode in (-9, 137) or notes:
            return Outcome(137, notes)
        said = stderr_tail.decode("utf-8", "replace").strip()[-1000:]
        raise SystemFailure(
            f"{self.description} could not start the sandbox: {said or f'exit code {returncode}'}"
        )

    def kill(self, run: Run, pid: int | None) -> None:
        kill_group(pid)  # the processes inside die with the one that made their PID namespace

    def capture(self, run: Run, path: str, destination: str) -> bool:
        if path in (*HOST_FILES, *NETWORK_FILES):
            return False  # a mount point that bwrap made, not what the task wrote
        root = View([Bind("/", self._root(run))])
        with contextlib.suppress(OSError):
            found = root.resolve(path)
            status, host = root.lstat(found), root.host_path(found)
            if status and host and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                os.rename(host, destination)
                return True
        return False

    def new_files(self, run: Run) -> list[str]:
        root = self._root(run)
        return [
            posixpath.join("/", os.path.relpath(folder, root), name).replace("/./", "/")
            for folder, _, names in os.walk(root)
            for name in names
        ]

    def remove(self, run: Run) -> None:
        remove_for_certain(self._root(run))
        if run.name in self._limits:  # it was killed, and has no outcome
            self._limits.pop(run.name).end()
        if run.name in self._statuses:
            os.close(self._statuses.pop(run.name))

    def reclaim(self, tree: str) -> None:
        """Does nothing: whatever user the sandbox shows, its files belong to ours."""

    def leftovers(self) -> list[tuple[str, str]]:
        return []  # a sandbox cannot outlive its worker

    def remove_leftover(self, container: str) -> None:
        """Does nothing: there are none."""


def may_disable_userns(version: str, program: str) -> bool:
    """Whether bwrap can keep programs from making user namespaces, in which they would be root again."""
    with contextlib.suppress(OSError, ValueError), open("/proc/sys/user/max_user_namespaces") as file:
        is_new = [int(part) for part in version.split(".")[:2]] >= [0, 8]
        return is_new and not os.stat(program).st_mode & stat.S_ISUID and int(file.read()) > 0
    return False


def sandbox_options(
    run: Run,
    root: str,
    system: Sequence[str],
    opened: dict[str, int] | None = None,
    disables_userns: bool = False,
) -> list[str]:
    """The options of `bwrap`; `system` are the host's real directories among `HOST_SYSTEM`.

    `opened` are descriptors of what is mounted, by target, where there are some.
    """
    with_network = run.network == "host"
    options = ["--die-with-parent", "--unshare-all", "--new-session", "--clearenv", "--hostname", "task"]
    # A worker that is root would hand all its capabilities on, and with them /usr could be made writable.
    options += ["--cap-drop", "ALL"]
    if disables_userns:
        options += ["--unshare-user", "--disable-userns"]
    if with_network:
        options.append("--share-net")
    options += ["--bind", root, "/"]
    for path in system:
        options += ["--ro-bind", path, path]
    for path in (*HOST_FILES, *(NETWORK_FILES if with_network else ())):
        options += ["--ro-bind-try", path, path]
    options += ["--proc", "/proc"]
    for path in KERNEL_SETTINGS:
        options += ["--ro-bind-try", path, path]
    options += ["--dev", "/dev"]
    for bind in sorted(run.binds, key=lambda bind: bind.target.count("/")):
        option = "--bind" if bind.writable else "--ro-bind"
        if opened and bind.target in opened:
            options += [f"{option}-fd", str(opened[bind.target]), bind.target]
        else:
            options += [option, bind.source, bind.target]
    for name, value in {**DEFAULT_ENV, **run.env}.items():
        options += ["--setenv", name, value]
    return [*options, "--chdir", run.workdir or "/"]


def make_root(root: str) -> None:
    """A root directory with the host's links (such as /bin → usr/bin) and little else."""
    os.mkdir(root)
    for path in HOST_SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
    for path in ("/etc", "/var", "/opt", "/root", "/home", "/run"):
        os.mkdir(root + path)
    os.symlink("../run", root + "/var/run")
    make_directories(root + "/var/tmp")  # noqa: S108 - of the sandbox


def is_real_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
