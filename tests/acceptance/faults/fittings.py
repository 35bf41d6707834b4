"""What worlds are fitted with so that they can be disturbed: links that can be cut, and gates for jobs.

A gate holds a task's job before its worker begins, or before its second executor, as a busy site does.
"""

import atexit
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from tests.acceptance.faults.worlds import Link as LinkName
from tests.acceptance.faults.worlds import World, WorldKind
from tests.services.link import Link

GATES = ("launch", "between executors")
"""The phases that they are for."""
PLACES = 7
"""Jobs at one time: see `Cast`."""
NOTHING: Mapping[str, str] = MappingProxyType({})
_PREFIX = "TESP_API_DESTINATIONS__LOCAL__"

RESETTING = ("pulsar-broker",)
"""Stock Pulsar notices a connection that is silent for ever by TCP's keepalive alone, and that a proxy on the
same machine answers: here it is told as soon as it sends a heartbeat."""

# a job is known by the name of its task, which is in the URLs of its order
_HOLD = """hold() {
    for gate in {folder}/gates/"$1".*; do
        name=${gate##*.}
        [ -e "$gate" ] || continue
        if grep -qs "/$name/in" ../tool_files/task.json; then
            : > "{folder}/held/$1.$name"
            while [ -e "$gate" ]; do sleep 0.05; done
        fi
    done
}
"""
# no worker is forked: it would pass the gate; and containers are started by docker's program, which has one
_PYTHON = """#!/bin/sh
{hold}case " $* " in *" --nursery "*) exit 1 ;; esac
hold launch
unset LD_PRELOAD
export DOCKER_CONFIG={folder}/docker
. {folder}/environment
PATH={folder}/bin:$PATH exec {python} "$@"
"""
_SANDBOX = """#!/bin/sh
{hold}case "$(readlink "/proc/self/fd/$2")" in *-1.status*) hold between ;; esac
exec /usr/bin/bwrap "$@"
"""
_DOCKER = """#!/bin/sh
{hold}case "$1 $2" in "run --name=tesp-"*-1) hold between ;; esac
exec {docker} "$@"
"""
_PROGRAMS = {"python": _PYTHON, "bin/bwrap": _SANDBOX, "bin/docker": _DOCKER}


class Fittings:
    """The links and gates of a kind of world: what its `through` is. They are of one world at a time."""

    def __init__(self, exports: Mapping[str, str]) -> None:
        self._links: dict[str, Link] = {}
        self._exports = exports
        self.folder = Path(tempfile.gettempdir()).resolve() / f"tesp-fittings-{secrets.token_hex(6)}"

    def make(self) -> None:
        """Make the folder with the programs by which jobs are started, unless it is there."""
        if self.folder.exists():
            return
        for name in ("bin", "gates", "held"):
            (self.folder / name).mkdir(parents=True)
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        parts = {
            "{hold}": _HOLD,
            "{folder}": str(self.folder),
            "{python}": sys.executable,
            "{docker}": str(shutil.which("docker")),
        }
        for name, text in _PROGRAMS.items():
            for part, value in parts.items():
                text = text.replace(part, value)
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        (self.folder / "docker").mkdir()
        (self.folder / "docker" / "config.json").write_text('{"HttpHeaders": {"X-Gate": "here"}}')
        exports = [f"export {name}={shlex.quote(value)}\n" for name, value in self._exports.items()]
        (self.folder / "environment").write_text("".join(exports))

    def __call__(self, name: LinkName, port: int) -> int:
        """The port of a new link to the port."""
        return self.link(name, port).port

    def link(self, name: str, port: int) -> Link:
        """A new link, in place of the last one of that name."""
        if name in self._links:
            self._links[name].__exit__(None, None, None)
        self._links[name] = Link(port, resets=name in RESETTING)
        return self._links[name]

    def __contains__(self, name: str) -> bool:
        return name in self._links

    def __getitem__(self, name: str) -> Link:
        return self._links[name]

    def shut(self, gate: str, name: str) -> None:
        """Hold the job of the task of that name there, when it comes."""
        self._file("gates", gate, name).touch()

    def is_held(self, gate: str, name: str) -> bool:
        return self._file("held", gate, name).exists()

    def open(self, name: str) -> None:
        """Let the task's jobs pass."""
        for gate in GATES:
            for folder in ("gates", "held"):
                self._file(folder, gate, name).unlink(missing_ok=True)

    def _file(self, folder: str, gate: str, name: str) -> Path:
        return self.folder / folder / f"{gate.split()[0]}.{name}"


class FittedSettings:
    """The settings of a world with fittings, which are made when these are first asked for."""

    def __init__(self, fittings: Fittings, more: Mapping[str, str]) -> None:
        self._fittings, self._more = fittings, more

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self._fittings.make()
        yield f"{_PREFIX}PYTHON", str(self._fittings.folder / "python")
        yield f"{_PREFIX}MAX_RUNNING", str(PLACES)
        yield "TESP_API_RETRIES__PAUSE_S", "3"
        yield from self._more.items()


def fitted(
    kind: WorldKind, settings: Mapping[str, str] = NOTHING, *, exports: Mapping[str, str] = NOTHING
) -> WorldKind:
    """The same kind of world with fittings; `exports` are for the environment of its workers."""
    fittings = Fittings(exports)
    return replace(kind, through=fittings, settings=FittedSettings(fittings, settings))


def fittings_of(world: World) -> Fittings:
    """Those of the world's kind."""
    fittings = world.kind.through
    assert isinstance(fittings, Fittings)
    return fittings
