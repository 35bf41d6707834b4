"""The sandbox of an engine's process: it evaluates what users wrote, so it sees nothing and reaches nobody.

With bubblewrap: every namespace of its own (no network, no other process), a file system with nothing but
the engine's environment and the libraries that it needs, all read-only, and a small /tmp. Where the server is
root it runs as a user that nobody else is, and may have so many processes; else so many in its namespace.
Always: an empty environment, limits of memory, processor time, open files and file sizes; a control group
where this server may make one.
"""

import functools
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tesp_api.errors import EngineUnusable
from tesp_api.settings_engines import SandboxSettings
from tesp_api.wes.engines.environments import EngineEnvironment
from tesp_api.worker.cgroups import ControlGroup, begun_inside, create_group

INSIDE = PurePosixPath("/engine")
"""Where our own code lies in the sandbox: as the package `engines`, of which nothing else is there."""

SCRATCH_BYTES = 64 * 1024**2
_HERE = Path(__file__).parent
_FIRST_USER = 1_900_000_000
_USERS = 100_000_000
_FILES_MAX = 1024
_CPU_GRACE_S = 5
_FILE_BLOCK_BYTES = 512
_NUMBERS = re.compile(r"\d+")
_LIBRARIES = tuple(
    Path(above, name) for above in ("/usr", "/") for name in ("lib", "lib32", "lib64", "libx32")
)
_LOADER = (Path("/etc/ld.so.cache"),)
_ENVIRONMENT = {"LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp"}  # noqa: S108 - inside the sandbox
_START = (
    "import importlib, json, sys; sys.path.append(sys.argv[1]); "
    "from engines.inside.confinement import confine; channel = confine(json.loads(sys.argv[2])); "
    "importlib.import_module(sys.argv[3]).main(channel)"
)
"""Nothing but our own module is loaded before the process has given up what it may."""

_LIMITED = 'while [ "$1" != -- ]; do ulimit "$1" "$2" "$3" || exit; shift 3; done; shift; exec "$@"'
"""A shell takes the limits: a function that `Popen` calls in its child may wait for a thread that is gone."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder in the sandbox that may be written to, in memory; files in it may have holes of any size."""

    path: PurePosixPath
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the process; `argv[0]` is a path."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    group: ControlGroup | None


class Sandbox:
    """For one engine, whose code is the package `expander` in the folder that has the engine's name.

    With a `workspace` it cannot do without bubblewrap, which makes that.
    """

    def __init__(
        self, environment: EngineEnvironment, settings: SandboxSettings, workspace: Workspace | None = None
    ) -> None:
        self._environment = environment
        self._expander = _HERE / environment.name / "expander"
        self._settings = settings
        self._workspace = workspace

    @property
    def fault(self) -> str:
        """Why nothing may be started here; "" if it may."""
        if shutil.which("bwrap"):
            return ""
        if self._workspace is not None:
            return (
                f"the engine {self._environment.name} needs a sandbox, and bubblewrap (bwrap) is not on this "
                "server: its operator installs it"
            )
        if self._settings.allow_unconfined:
            return ""
        return (
            "workflows are expanded in a sandbox, and bubblewrap (bwrap) is not on this server: its operator "
            "installs it, or sets wes.sandbox.allow_unconfined, where every user is trusted"
        )

    def launch(self, name: str) -> Launch:
        """The `name` tells one process from the others.

        Raises:
            EngineUnusable: the engine is not installed, or must not run here.
        """
        self._environment.require()
        if self.fault:
            raise EngineUnusable(self.fault)
        bwrap = shutil.which("bwrap")
        user = self._user_of(name, bwrap)
        python = [str(self._environment.python), "-I", "-B", "-X", "utf8", "-c", _START]
        is_counted = user is not None or (bwrap is not None and counts_by_namespace())
        processes_max = self._settings.processes_max if is_counted else None
        options = json.dumps({"user": user, "processes_max": processes_max})
        path = {"PATH": str(self._environment.folder / "bin")}
        group = create_group(
            f"tesp-engine-{name}", None, int(self._settings.memory_gb * 1e9), self._settings.processes_max
        )
        module = f"engines.{self._environment.name}.expander.main"
        argv = [*python, str(_HERE.parent), options, module]
        if bwrap is not None:
            argv = [bwrap, *self._options(user), "--", *python, str(INSIDE), options, module]
        file_max_bytes = SCRATCH_BYTES if self._workspace is None else resource.RLIM_INFINITY
        argv = ["/bin/sh", "-c", _LIMITED, "sh", *_limits(self._settings, file_max_bytes), "--", *argv]
        argv = begun_inside(group.directories if group else (), argv)
        return Launch(argv, {**_ENVIRONMENT, **path}, group)

    def check(self) -> str:
        """Start what does nothing; why that fails here, or "".

        Raises:
            EngineUnusable: as `launch`.
        """
        launch = self.launch("check")
        argv = ["pass" if word == _START else word for word in launch.argv]
        try:
            ended = subprocess.run(argv, env=dict(launch.environment), capture_output=True, text=True)
        finally:
            if launch.group is not None:
                launch.group.remove()
        return ended.stderr.strip() or "it does not start" if ended.returncode else ""

    def _options(self, user: int | None) -> Iterator[str]:
        """Of bwrap."""
        yield from ("--die-with-parent", "--new-session", "--hostname", "engine", "--cap-drop", "ALL")
        if user is None:
            yield "--unshare-all"
        else:  # in a user namespace of its own it would still be root to the kernel
            yield from ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts")
            yield from ("--unshare-cgroup-try", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
        yield from ("--perms", "0755", "--tmpfs", "/")
        yield from ("--perms", "1777", "--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp")  # noqa: S108 - inside the sandbox
        links = [path for path in _LIBRARIES if path.is_symlink()]
        for path in links:
            yield from ("--symlink", str(path.readlink()), str(path))
        shown = {path: path for path in (*_LIBRARIES, *_LOADER) if path.exists() and path not in links}
        shown |= {path: path for path in self._python_parts()}
        for folder in (_HERE / "inside", self._expander):
            shown[Path(INSIDE, folder.relative_to(_HERE.parent))] = folder
        # bwrap would make the folders above them for its own user alone
        places = [*shown, *([Path(self._workspace.path)] if self._workspace else ())]
        above = {folder for path in places for folder in path.parents if folder.name}
        for folder in sorted(above):
            yield from ("--perms", "0755", "--dir", str(folder))
        for target, source in shown.items():
            yield from ("--ro-bind", str(source), str(target))
        if self._workspace:
            yield from ("--perms", "1777", "--size", str(self._workspace.size_bytes))
            yield from ("--tmpfs", str(self._workspace.path))
        yield from ("--proc", "/proc", "--dev", "/dev")
        yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp")  # noqa: S108 - inside the sandbox

    def _python_parts(self) -> Iterator[Path]:
        """The environment, and of the Python that it is made of the program and its library."""
        folder = self._environment.folder
        yield folder
        program = self._environment.python.resolve()
        yield program
        if (library := program.parent.parent / "lib") not in _LIBRARIES:
            yield library
        link = self._environment.python
        while link.is_symlink():  # the way from the environment to the program
            link = link.parent / link.readlink()
            if not link.is_relative_to(folder):
                yield link

    def _user_of(self, name: str, bwrap: str | None) -> int | None:
        """A user for this process alone, if the server is root and any user can read the engine's files."""
        if os.geteuid() != 0 or (bwrap and not _has_namespaces_as_root(bwrap)):
            return None
        program = self._environment.python.resolve()
        ours = [_HERE / "inside" / "channel.py", self._expander / "main.py"]
        needed = [*ours, program, self._environment.folder / "pyvenv.cfg"]
        if not all(_is_readable(path, with_folders=bwrap is None) for path in needed):
            return None
        return _FIRST_USER + zlib.crc32(name.encode()) % _USERS


@functools.cache
def _has_namespaces_as_root(bwrap: str) -> bool:
    """Whether root may make them as it is; in some containers it needs a user namespace, as others do."""
    argv = [bwrap, "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true"]
    return subprocess.run(argv, capture_output=True).returncode == 0


@functools.cache
def counts_by_namespace() -> bool:
    """Whether this kernel counts, for RLIMIT_NPROC, a user's processes in each user namespace by themselves.

    Others count all that the user has, the server and its tasks among them. Source: Linux 5.14, ucounts.
    """
    return tuple(int(part) for part in _NUMBERS.findall(os.uname().release)[:2]) >= (5, 14)


def _is_readable(path: Path, *, with_folders: bool) -> bool:
    """Whether every user may read it, on the way from the root if need be: a sandbox has its own way."""
    if not path.stat().st_mode & stat.S_IROTH or not path.parent.stat().st_mode & stat.S_IXOTH:
        return False
    return not with_folders or all(one.stat().st_mode & stat.S_IXOTH for one in path.parents)


def _limits(settings: SandboxSettings, file_max_bytes: int) -> Iterator[str]:
    """Of the process, as `ulimit` takes them. None is above what this server itself may."""
    cpu_s = int(settings.cpu_s)
    limits = [
        ("-c", resource.RLIMIT_CORE, 0, 1),
        ("-t", resource.RLIMIT_CPU, cpu_s, 1),
        ("-d", resource.RLIMIT_DATA, int(settings.memory_gb * 1e9), 1024),
        ("-f", resource.RLIMIT_FSIZE, file_max_bytes, _FILE_BLOCK_BYTES),
        ("-n", resource.RLIMIT_NOFILE, _FILES_MAX, 1),
    ]
    for option, kind, wanted, unit in limits:
        ours = resource.getrlimit(kind)[1]
        more = _CPU_GRACE_S if kind == resource.RLIMIT_CPU else 0  # SIGXCPU tells of it, SIGKILL does not
        for strength, value in (("-S", wanted), ("-H", wanted + more)):
            given = [one // unit for one in (value, ours) if one != resource.RLIM_INFINITY]
            yield from (strength, option, str(min(given)) if given else "unlimited")
