"""What worlds are fitted with so that they can be disturbed: links that can be cut, and gates for jobs.

A gate holds a task's job before its worker begins, or before its second executor, as a busy site does.
"""

import atexit
import shlex
import shutil
import stat
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.acceptance.faults.worlds import Link as LinkName
from tests.acceptance.faults.worlds import World, WorldKind
from tests.services.link import Link

GATES = ("launch", "between executors")
"""The phases that they are for."""
STORAGE = "worker-storage"
PLACES = 7
"""Jobs at one time: see `Cast`."""
_PREFIX = "TESP_API_DESTINATIONS__LOCAL__"

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
_PYTHON = """#!/bin/sh
{hold}hold launch
unset LD_PRELOAD
. {folder}/environment
PATH={folder}/bin:$PATH exec {python} "$@"
"""
_SANDBOX = """#!/bin/sh
{hold}case "$(readlink "/proc/self/fd/$2")" in *-1.status) hold between ;; esac
exec /usr/bin/bwrap "$@"
"""
_DOCKER = """#!/bin/sh
{hold}case "$1 $2" in "run --name=tesp-"*-1) hold between ;; esac
exec {docker} "$@"
"""


class Fittings:
    """The links and gates of a kind of world: what its `through` is. They are of one world at a time."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="tesp-fittings-")).resolve()
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        for name in ("bin", "gates", "held"):
            (self.folder / name).mkdir()
        self._environment = self.folder / "environment"
        self._environment.touch()
        hold = _HOLD.replace("{folder}", str(self.folder))
        parts = {"{hold}": hold, "{folder}": str(self.folder), "{python}": sys.executable}
        parts["{docker}"] = str(shutil.which("docker"))
        for name, text in {"python": _PYTHON, "bin/bwrap": _SANDBOX, "bin/docker": _DOCKER}.items():
            for part, value in parts.items():
                text = text.replace(part, value)
            file = self.folder / name
            file.write_text(text)
            file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def export(self, name: str, value: str) -> None:
        """Let workers find this in their environment."""
        with self._environment.open("a") as file:
            file.write(f"export {name}={shlex.quote(value)}\n")

    def __call__(self, name: LinkName, port: int) -> int:
        """The port of a new link to the port."""
        return self.link(name, port).port

    def link(self, name: str, port: int) -> Link:
        """A new link, in place of the last one of that name."""
        if name in self._links:
            self._links[name].__exit__(None, None, None)
        self._links[name] = Link(port)
        return self._links[name]

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


def fitted(kind: WorldKind, *settings: tuple[str, str], **more: str) -> WorldKind:
    """The same kind of world with fittings."""
    fittings = Fittings()
    own = (
        (f"{_PREFIX}PYTHON", str(fittings.folder / "python")),
        (f"{_PREFIX}MAX_RUNNING", str(PLACES)),
        ("TESP_API_RETRIES__PAUSE_S", "3"),
        *settings,
    )
    return replace(kind, through=fittings, settings=own, **more)  # type: ignore[arg-type]


def fittings_of(world: World) -> Fittings:
    """Those of the world's kind, with a link to its storage."""
    fittings = world.kind.through
    assert isinstance(fittings, Fittings)
    return fittings


def put_storage_behind_a_link(world: World) -> None:
    """Let tasks that are made from now on reach their files through the link `STORAGE`."""
    port = int(world.web.url.rpartition(":")[2])
    world.web.url = f"http://127.0.0.1:{fittings_of(world).link(STORAGE, port).port}"
