"""Runtimes that take paths only are given private places, in a mount namespace that nobody else is in.

Apptainer is a script here that shows what it finds at the sources it is told; the kernel's part is real.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tesp_api.worker import beneath
from tesp_api.worker.cgroups import ControlGroup
from tesp_api.worker.errors import SystemFailure
from tesp_api.worker.mounts import Bind
from tesp_api.worker.runtimes import limits, shared
from tesp_api.worker.runtimes.apptainer import Apptainer
from tesp_api.worker.runtimes.base import Run
from tesp_api.worker.runtimes.bubblewrap import Bubblewrap
from tesp_api.worker.runtimes.shared import python_program

MOUNTS_ARE_ALLOWED = (
    subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
)
needs_mounts = pytest.mark.skipif(not MOUNTS_ARE_ALLOWED, reason="no mount namespaces may be made here")
APPTAINER = """#!/bin/sh
[ "$1" = --version ] && echo "apptainer version 1.3.0" && exit
for option; do
    case $option in type=bind,source=*)
        source=${option#*source=}
        find "${source%%,*}" -type f -exec cat {} +
    esac
done
"""


class Place:
    """A shared folder, and one of the host to which `swap` leads."""

    def __init__(self, path: Path) -> None:
        self.root, self.host, self.scratch = path / "root", path / "host", path / "task"
        self.scratch.mkdir()
        for parent, text in ((self.root / "sub", "shared\n"), (self.host, "secret\n")):
            (parent / "one").mkdir(parents=True)
            (parent / "one" / "key").write_text(text)

    def put_link(self) -> None:
        (self.root / "sub").rename(self.root / "other")
        (self.root / "sub").symlink_to(self.host)

    def put_directory(self) -> None:
        (self.root / "sub").rename(self.root / "other")
        shutil.copytree(self.host, self.root / "sub")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def run_apptainer(
    place: Place, bind: Bind | None, between: Callable[[], object], env: dict[str, str] | None = None
) -> str:
    program = place.scratch / "apptainer"
    program.write_text(APPTAINER)
    program.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{place.scratch}:{before}"
    try:
        engine = Apptainer((), str(place.scratch))
    finally:
        os.environ["PATH"] = before
    image = place.scratch / "image.sif"
    image.touch()
    binds = () if bind is None else (bind,)
    run = Run("tesp-j-0", {}, str(image), ("true",), None, env or {}, False, binds, "none", 1.0, None)
    engine._images[run.image] = run.image
    launch = engine.launch(run)
    between()
    done = subprocess.run(launch.argv, capture_output=True, check=False, **launch.popen)
    for descriptor in launch.descriptors:
        os.close(descriptor)
    engine.outcome(run, done.returncode, done.stderr)
    return str(done.stdout, "utf-8")


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The control group of what is launched, which asks for a processor."""
    directory = tmp_path / "group"
    directory.mkdir()
    (directory / "cgroup.procs").touch()
    monkeypatch.setattr(limits, "create_group", lambda *_: ControlGroup([str(directory)]))
    return directory


def test_apptainer_begins_in_its_group_with_every_variable(
    place: Place, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "APPTAINER", f"{APPTAINER}cat /proc/$$/environ\n")
    env = {"plain": "1", "my.var": "2", "A-B": "three\nlines", "Ä": "é"}
    said = run_apptainer(place, None, lambda: None, env).split("\0")
    assert {f"APPTAINERENV_{name}={value}" for name, value in env.items()} <= set(said)
    assert (group / "cgroup.procs").read_text() == "0"


def test_apptainer_never_begins_outside_of_its_group(place: Place, group: Path) -> None:
    (group / "cgroup.procs").unlink()
    group.rmdir()
    with pytest.raises(SystemFailure, match="Cannot enter the control group: No such file"):
        run_apptainer(place, None, lambda: None)


def test_apptainer_that_was_taken_away_is_no_fault_of_the_command(place: Place, group: Path) -> None:
    with pytest.raises(SystemFailure, match=r"FATAL: Cannot start .*apptainer: No such file"):
        run_apptainer(place, None, (place.scratch / "apptainer").unlink)


TRIAL = Run("tesp-j-try", {}, "", (), None, {}, False, (), "none", None, None)
DIRECTORY = "/in/one", "sub/one", False
FILE = "/in/key", "sub/one/key", True


@needs_mounts
@pytest.mark.parametrize("kind", [DIRECTORY, FILE])
def test_apptainer_finds_what_is_shared(place: Place, kind: tuple[str, str, bool]) -> None:
    target, source, is_file = kind
    bind = Bind(target, str(place.root / source), is_file=is_file, is_shared=True)
    assert run_apptainer(place, bind, lambda: None) == "shared\n"


@needs_mounts
@pytest.mark.parametrize("kind", [DIRECTORY, FILE])
def test_apptainer_has_no_descriptor_of_what_is_shared(
    place: Place, kind: tuple[str, str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "APPTAINER", f"{APPTAINER}readlink /proc/$$/fd/*\n")
    target, source, is_file = kind
    bind = Bind(target, str(place.root / source), is_file=is_file, is_shared=True)
    said = run_apptainer(place, bind, lambda: None)
    assert "pipe:" in said and str(place.root) not in said


@needs_mounts
@pytest.mark.parametrize("swap", [Place.put_link, Place.put_directory])
@pytest.mark.parametrize("kind", [DIRECTORY, FILE])
def test_apptainer_never_begins_where_it_was_swapped(
    place: Place, kind: tuple[str, str, bool], swap: Callable[[Place], None]
) -> None:
    target, source, is_file = kind
    bind = Bind(target, str(place.root / source), is_file=is_file, is_shared=True)
    with pytest.raises(SystemFailure, match=r"Cannot mount .* was replaced"):
        run_apptainer(place, bind, lambda: swap(place))


def test_where_no_mounts_may_be_made_it_is_said_beforehand(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here by a kernel that refuses, as far as the program can tell."""
    program = place.scratch / "apptainer"
    program.write_text(APPTAINER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.scratch}:{os.environ['PATH']}")
    engine = Apptainer((), str(place.scratch))
    bind = Bind("/in/one", str(place.root / "sub" / "one"), is_shared=True)
    assert (engine.why_not_mounted(bind, TRIAL) is None) == MOUNTS_ARE_ALLOWED
    refusing = "import sys; sys.stderr.write('unshare: Operation not permitted'); sys.exit(1)"
    monkeypatch.setattr(shared, "python_program", lambda *_: [sys.executable, "-c", refusing])
    assert "Operation not permitted" in str(engine.why_not_mounted(bind, TRIAL))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap is here")
def test_an_old_bubblewrap_says_so_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = "import sys; sys.stderr.write('unshare: Operation not permitted'); sys.exit(1)"
    monkeypatch.setattr(shared, "python_program", lambda *_: [sys.executable, "-c", refusing])
    bind = Bind("/in/one", str(place.root / "sub" / "one"), is_shared=True)
    old = Bubblewrap((), str(place.scratch))
    monkeypatch.setattr(old, "_takes_descriptors", lambda: False)
    assert "Operation not permitted" in str(old.why_not_mounted(bind, TRIAL))
    monkeypatch.setattr(old, "_takes_descriptors", lambda: True)
    assert old.why_not_mounted(bind, TRIAL) is None


@needs_mounts
def test_nobody_else_sees_the_places(place: Place) -> None:
    spot = place.scratch / "spot"
    spot.mkdir()
    status = (place.root / "sub" / "one").stat()
    mount = [str(place.root / "sub" / "one"), str(spot), status.st_dev, status.st_ino]
    given = json.dumps([[], [mount]])
    argv = [
        *python_program(beneath, given, "9"),
        "sh",
        "-c",
        "cat spot/key; echo; read line",
    ]
    with subprocess.Popen(argv, cwd=place.scratch, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"shared\n"
        assert list(spot.iterdir()) == []
        process.communicate(b"\n")


@needs_mounts
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_may_do_so_too(place: Place) -> None:
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("no Python that other users can read")
    spot = place.scratch / "spot"
    spot.mkdir()
    opened = [place.scratch.parents[number] for number in range(len(place.scratch.parents) - 1)]
    kept = [(path, path.stat().st_mode) for path in opened]
    status = (place.root / "sub" / "one").stat()
    mount = [str(place.root / "sub" / "one"), str(spot), status.st_dev, status.st_ino]
    given = json.dumps([[], [mount]])
    argv = [
        python,
        *python_program(beneath, given, "9")[1:],
        "sh",
        "-c",
        f"cat {spot}/key; id -u",
    ]
    try:
        for path, mode in kept:
            path.chmod(mode | 0o711)
        done = subprocess.run(
            argv, capture_output=True, check=False, user=12345, group=12345, extra_groups=[]
        )
    finally:
        for path, mode in kept:
            path.chmod(mode)
    assert (done.stdout, done.stderr) == (b"shared\n12345\n", b"")
