"""Docker, driven by its command line; podman shares the shape of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING, Mapping, NamedTuple, Sequence
from urllib.parse import quote

from .. import ownership
from ..cancellation import Cancellation
from ..errors import DaemonAway, SystemFailure, Unusable
from ..mounts import Bind
from ..process import DAEMON_AWAY, run_command, run_despite_daemon
from .base import (
    MEMORY_MIN_BYTES,
    Launch,
    Outcome,
    Run,
    find_program,
    mount_option,
    require_image_name,
    write_private,
)
from .docker_engine import OF_WORKERS, Engine
from .docker_shared import DockerShared
from .identity import user_of
from .shared import Mounting, close_all, open_shared

if TYPE_CHECKING:
    from .docker_container import Container

ABSENT = re.compile(r"no such (container:path|file)|could not (be found|find)", re.IGNORECASE)
NEVER = "0001-"  # how the time of an event that never was begins


class State(NamedTuple):
    """What the runtime remembers of a container."""

    was_started: bool
    exit_code: int
    out_of_memory: bool
    error: str


class Docker:
    """Containers by a Docker daemon."""

    notes: tuple[str, ...] = ()
    _starts_by_socket = False
    """Containers are started without the program: it has nothing to add."""

    def __init__(self, extra: Sequence[str], scratch: str) -> None:
        self._program = find_program("docker")
        self._extra = tuple(extra)
        self._scratch = scratch
        self.reclaiming_program: str | None = self._program if os.geteuid() != 0 else None
        self._engine = Engine()
        self._shared = DockerShared(self._program, scratch, self._engine)
        self._held: dict[str, list[int]] = {}
        self._begun: dict[str, Container] = {}
        self.description = f"docker {self._ask_version()}"

    def _ask_version(self) -> str:
        """The daemon's version, over its socket: ~100 times cheaper than running the program."""
        with contextlib.suppress(OSError, ValueError):
            version = self._engine.version()
            self._starts_by_socket = not self._extra and not self._engine.is_told_more()
            return version
        code, text = run_command([self._program, "version", "--format", "{{.Server.Version}}"])
        if code != 0:
            kind = DaemonAway if DAEMON_AWAY.search(text) else Unusable
            raise kind(f"the daemon does not answer: {text[-300:]}")
        return text

    def check_image(self, image: str, cancellation: Cancellation) -> None:
        require_image_name(image)
        if not self._has_image(image, cancellation):
            code, text = run_command([self._program, "pull", "--quiet", "--", image], cancellation)
            if code != 0:
                raise SystemFailure(f"Cannot pull the image {image}: {text[-1000:]}")

    def _sees_image(self, image: str) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return "Id" in self._engine.get(f"/images/{quote(image, safe='/:@')}/json")
        return False

    def _has_image(self, image: str, cancellation: Cancellation) -> bool:
        argv = [self._program, "image", "inspect", "--", image]
        return self._sees_image(image) or run_command(argv, cancellation)[0] == 0

    def check_captures(self, paths: Sequence[str]) -> None:
        """Any path can be copied out of a container."""

    def launch(self, run: Run) -> Launch:
        opened = open_shared(run)
        self._held[run.name] = list(opened.values())
        user = user_of(run, self._is_root_ours, opened)
        mounting = self._mount_shared(run, opened)
        on_death = [self._remove_command(run.name), *mounting.on_death]
        if self._starts_by_socket and self._sees_image(run.image):  # the program pulls what was removed since
            from .docker_container import Container, order_of

            order = order_of(run, user, self._finds_init(), mounting.options)

            def begin(stdin: int) -> Container:
                self._begun[run.name] = Container(self._engine, run.name, order, stdin)
                return self._begun[run.name]

            return Launch([], {}, on_death, start=begin)
        from .environment import split_environment

        split = split_environment(run.env)
        env_file = None
        if split.file_lines:
            env_file = self._env_file(run)
            data = "".join(f"{line}\n" for line in split.file_lines).encode("utf-8", "surrogateescape")
            write_private(env_file, data)
        options = [*split.options, *confining_options(run, self._finds_init())]
        options += [f"--user={user}"] if user else []
        arguments = run_arguments(run, env_file, options, self._extra, mounting.options)
        return Launch(
            [self._program, *mounting.before, *arguments], {"env": {**os.environ, **split.passed}}, on_death
        )

    def why_not_mounted(self, bind: Bind, trial: Run) -> str | None:
        return self._shared.why_not_mounted(bind, trial)

    def _mount_shared(self, run: Run, opened: dict[str, int]) -> Mounting:
        return self._shared.mount(run, opened)

    def _finds_init(self) -> bool:
        """The daemon cannot be asked: it says so only when a container is to run."""
        return shutil.which("docker-init") is not None

    def _is_root_ours(self) -> bool:
        return ownership.is_rootless(self._program)

    def _env_file(self, run: Run) -> str:
        return os.path.join(self._scratch, f"{run.name}.env")

    def outcome(self, run: Run, returncode: int, stderr_tail: bytes) -> Outcome:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._env_file(run))
        begun = self._begun.pop(run.name, None)
        if begun is not None and begun.fault:
            raise SystemFailure(f"The container {run.name} failed: {begun.fault}")
        if returncode < 0:
            raise SystemFailure(f"The container's client program was killed by signal {-returncode}")
        if returncode not in (125, 126, 127, 137, 143):
            return Outcome(returncode)
        state = self._state(run)
        if returncode == 125 and state is not None and state.was_started and state.exit_code != 125:
            raise SystemFailure(f"The Docker daemon was restarted while {run.name} ran")
        if state is None or (not state.was_started and returncode not in (126, 127)):
            said = stderr_tail.decode("utf-8", "replace").strip()[-1000:]
            raise SystemFailure(
                f"{self.description} could not run {run.image}: {said or (state and state.error)}"
            )
        if state.out_of_memory:
            return Outcome(returncode, (f"The container {run.name} was killed: it reached its memory limit",))
        return Outcome(returncode)

    def _state(self, run: Run) -> State | None:
        """None if there is no such container. Raises: SystemFailure if the daemon is away."""
        code, text = run_command(
            [self._program, "inspect", "--type=container", "--format={{json .State}}", run.name]
        )
        if DAEMON_AWAY.search(text):
            raise SystemFailure(f"The Docker daemon went away while {run.name} ran")
        try:
            state = json.loads(text) if code == 0 else None
        except ValueError:
            return None
        if state is None:
            return None
        started = str(state.get("StartedAt", NEVER))
        return State(
            was_started=not started.startswith(NEVER),
            exit_code=int(state.get("ExitCode", 0)),
            out_of_memory=bool(state.get("OOMKilled")),
            error=str(state.get("Error", "")),
        )

    def kill(self, run: Run, pid: int | None) -> None:
        if not self._is_removed(run.name):
            run_command(self._remove_command(run.name))

    def capture(self, run: Run, path: str, destination: str) -> bool:
        return self._copy_out(run, path, destination, ["-L"])

    def _copy_out(self, run: Run, path: str, destination: str, options: list[str]) -> bool:
        code, text = run_command([self._program, "cp", *options, f"{run.name}:{path}", destination])
        if code != 0 and not ABSENT.search(text):
            raise SystemFailure(f"Cannot copy {path} out of its container: {text[-300:]}")
        return code == 0

    def new_files(self, run: Run) -> list[str]:
        code, text = run_command([self._program, "diff", run.name])
        if code != 0:
            raise SystemFailure(f"Cannot see what an executor wrote: {text[-300:]}")
        return [line[2:] for line in text.splitlines() if line[:2] in ("A ", "C ")]

    def remove(self, run: Run) -> None:
        """Raises: SystemFailure if the container is still there."""
        close_all(self._held.pop(run.name, ()))
        try:
            if not self._is_removed(run.name):
                code, text = run_despite_daemon(self._remove_command(run.name))
                if code != 0 and "o such container" not in text:
                    raise SystemFailure(f"Cannot remove the container {run.name}: {text[-300:]}")
        finally:
            self._unmount_shared(run)

    def _unmount_shared(self, run: Run) -> None:
        self._shared.unmount(run)

    def _is_removed(self, name: str) -> bool:
        """Ask the daemon by its socket, which costs much less than its program does."""
        with contextlib.suppress(OSError, ValueError):
            return self._engine.ask("DELETE", f"/containers/{name}?force=1&v=1")[0] in (204, 404)
        return False

    def _remove_command(self, name: str) -> list[str]:
        return [self._program, "rm", "--force", "--volumes", name]

    def reclaim(self, tree: str) -> None:
        ownership.reclaim_by_docker(self._program, tree)

    def leftovers(self) -> list[tuple[str, str]]:
        """Also volumes, after all containers, since these hold them."""
        return [*self._containers(), *self._shared.leftovers()]

    def _containers(self) -> list[tuple[str, str]]:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            found = self._engine.get(f"/containers/json?all=1&{OF_WORKERS}")
            return [(item["Id"], item["Labels"]["tesp.worker"]) for item in found]
        return self._leftovers_by_program()

    def _leftovers_by_program(self) -> list[tuple[str, str]]:
        form = '--format={{.ID}} {{.Label "tesp.worker"}}'
        code, text = run_command([self._program, "ps", "--all", "--filter=label=tesp.worker", form])
        pairs = [line.split(" ", 1) for line in text.splitlines() if " " in line] if code == 0 else []
        return [(container, label) for container, label in pairs]

    def remove_leftover(self, container: str) -> None:
        kind, _, name = container.rpartition(" ")
        run_command([self._program, kind, "rm", name] if kind else self._remove_command(name))


def run_arguments(
    run: Run,
    env_file: str | None,
    env_options: Sequence[str],
    extra: Sequence[str],
    mounts: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The arguments of `docker run`. Every user string is behind a `=` or after the image.

    `mounts` are values of `--mount`, by target, for what is not mounted by its path.
    """
    require_image_name(run.image)
    arguments = ["run", f"--name={run.name}", "--log-driver=none"]
    arguments += [f"--label={name}={value}" for name, value in sorted(run.labels.items())]
    if run.network != "default":
        arguments.append(f"--network={run.network}")
    if run.with_stdin:
        arguments.append("--interactive")
    if run.workdir:
        arguments.append(f"--workdir={run.workdir}")
    if run.cpus:
        arguments.append(f"--cpus={run.cpus:g}")
    if run.memory_bytes:
        memory = max(run.memory_bytes, MEMORY_MIN_BYTES)
        arguments += [f"--memory={memory}", f"--memory-swap={memory}"]
    if env_file:
        arguments.append(f"--env-file={env_file}")
    arguments += env_options
    arguments += [f"--mount={mounts.get(bind.target) or mount_option(bind)}" for bind in run.binds]
    return [*arguments, *extra, run.image, *run.command]


def confining_options(run: Run, with_init: bool) -> list[str]:
    """The options of `docker run` that keep a container from more than its task needs."""
    rules = run.confinement
    options = ["--init"] if rules.init and with_init else []
    if not rules.new_privileges:
        options.append("--security-opt=no-new-privileges")
    if rules.pids_max is not None:
        options.append(f"--pids-limit={rules.pids_max}")
    if rules.capabilities is not None:
        options += ["--cap-drop=ALL", *(f"--cap-add={name}" for name in rules.capabilities)]
    return options
