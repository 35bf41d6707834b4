"""Another task swaps what is about to be mounted for a link to the host, at the worst moment; real ones."""

import contextlib
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tesp_api.worker import ownership
from tesp_api.worker.errors import SystemFailure
from tesp_api.worker.mounts import Bind
from tesp_api.worker.runtimes.base import Launch, Run, Runtime, start
from tesp_api.worker.runtimes.bubblewrap import Bubblewrap
from tesp_api.worker.runtimes.docker import Docker
from tesp_api.worker.runtimes.docker_engine import Engine
from tesp_api.worker.runtimes.podman import Podman
from tests.integration.worker_job import PODMAN_ARGS
from tests.services.containers import require_docker, require_podman

pytestmark = pytest.mark.services

SECRET = "of the host"
MINE = "of the folder"
ROUNDS = 12
LIBC = ctypes.CDLL(None)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


class Folder:
    """A shared folder, and a folder of the host with the same names in it, to which a link leads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root, self.host, self.scratch = path / "sha,red", path / "host", path / "job" / "task"
        self.scratch.mkdir(parents=True)
        (path / "tmp").mkdir()
        for parent, text in ((self.root / "sub", MINE), (self.host, SECRET)):
            (parent / "one" / "inner").mkdir(parents=True)
            (parent / "one" / "key").write_text(text)
        (self.root / "link").symlink_to(self.host)
        self.is_swapped = False

    @property
    def looked_at(self) -> Path:
        return self.root / ("link" if self.is_swapped else "sub") / "one"

    def swap(self) -> None:
        """Put the link in the place of the directory, or the directory back, in one step."""
        one, other = os.fsencode(self.root / "sub"), os.fsencode(self.root / "link")
        assert LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0
        self.is_swapped = not self.is_swapped


def of_directory(folder: Folder, writable: bool) -> tuple[Bind, str]:
    bind = Bind("/in/one", str(folder.root / "sub" / "one"), writable, is_shared=True)
    return bind, "cat /in/one/key; echo x > /in/one/written"


def of_file(folder: Folder, writable: bool) -> tuple[Bind, str]:
    bind = Bind("/in/key", str(folder.root / "sub" / "one" / "key"), writable, is_file=True, is_shared=True)
    return bind, "cat /in/key; printf %s x >> /in/key"


def of_mounts(folder: Folder, writable: bool) -> tuple[Bind, str]:
    """A directory in which the host has mounted another one, and a file."""
    bind, _ = of_directory(folder, writable)
    return bind, "cat /in/one/inner/deep /in/one/key"


KINDS: dict[str, Callable[[Folder, bool], tuple[Bind, str]]] = {
    "a directory": of_directory,
    "a file": of_file,
    "a directory with mounts": of_mounts,
}


def docker(folder: Folder) -> Docker:
    require_docker()
    return Docker((), str(folder.scratch))


def docker_elsewhere(folder: Folder) -> Docker:
    """Its daemon is taken for one that does not see our descriptors."""
    engine = docker(folder)
    engine._engine.is_beside_us = lambda: False  # type: ignore[method-assign]
    return engine


def podman(folder: Folder) -> Podman:
    require_podman()
    return Podman(PODMAN_ARGS, str(folder.scratch))


def bubblewrap(folder: Folder) -> Bubblewrap:
    return Bubblewrap((), str(folder.scratch))


def old_bubblewrap(folder: Folder) -> Bubblewrap:
    """One that takes paths only, as apptainer does: it is given private places."""
    engine = bubblewrap(folder)
    engine._takes_descriptors = lambda: False  # type: ignore[method-assign]
    return engine


ENGINES: dict[str, Callable[[Folder], Runtime]] = {
    "docker": docker,
    "docker elsewhere": docker_elsewhere,
    "podman": podman,
    "bubblewrap": bubblewrap,
    "old bubblewrap": old_bubblewrap,
}
COMPARE = ("podman", "old bubblewrap")
"""These are told a path, and do not begin where it has led elsewhere; the others mount what was looked at."""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def mounted(folder: Folder) -> Iterator[None]:
    """Something of the operator's is mounted in the directory, and the like at the host's."""
    places: list[Path] = []
    for parent, text in ((folder.looked_at, MINE), (folder.host / "one", SECRET)):
        source = folder.path / f"disk-{len(places)}"
        source.mkdir()
        (source / "deep").write_text(text)
        places.append(parent / "inner")
        subprocess.run(["mount", "--bind", source, places[-1]], check=True)
    try:
        yield
    finally:
        if folder.is_swapped:
            folder.swap()
        for place in places:
            subprocess.run(["umount", place], check=True)


def run_of(folder: Folder, bind: Bind, script: str) -> Run:
    name = f"tesp-swapped-{time.time_ns()}"
    command = ("/bin/sh", "-c", f"echo inside; {script}")
    binds = (Bind("/tmp", str(folder.path / "tmp")), bind)
    return Run(name, {}, "busybox:latest", command, None, {}, False, binds, "default", None, None)


def end(launch: Launch) -> subprocess.CompletedProcess[bytes]:
    process = start(launch, subprocess.DEVNULL)
    assert process.stdout and process.stderr
    with process.stdout, process.stderr:
        stdout, stderr = process.stdout.read(), process.stderr.read()
    return subprocess.CompletedProcess((), process.wait(), stdout, stderr)


def attempt(engine: Runtime, run: Run, between: Callable[[], object]) -> tuple[bytes, str]:
    """What the program printed, and why the engine failed; `between` comes between the look and the mount."""
    try:
        launch = engine.launch(run)
        between()
        done = end(launch)
        with contextlib.suppress(SystemFailure):
            engine.outcome(run, done.returncode, done.stderr)
            return done.stdout, ""
        return done.stdout, done.stderr.decode()
    except SystemFailure as error:
        return b"", str(error)
    finally:
        engine.remove(run)


def check_untouched(folder: Folder) -> None:
    """Nothing of the host was written to, and nothing of the mounts is left."""
    assert sorted(path.name for path in (folder.host / "one").iterdir()) == ["inner", "key"]
    assert (folder.host / "one" / "key").read_text() == SECRET
    assert [path.name for path in (folder.path / "job").iterdir()] == ["task"]
    assert (folder.looked_at / "key").stat().st_nlink == 1
    names = subprocess.run(
        ["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=False
    ).stdout
    assert "tesp-swapped" not in names


def check_attempt(folder: Folder, kind: str, engine: str, said: bytes, why: str, writable: bool) -> None:
    """Either nothing has begun, and that is said, or what was looked at was mounted."""
    assert SECRET.encode() not in said
    if engine in COMPARE:
        assert (said, "replaced" in why) == (b"", True), why
    else:
        twice = 2 if kind == "a directory with mounts" else 1
        assert (said, why) == (b"inside\n" + MINE.encode() * twice, "")
        if kind == "a directory":
            assert (folder.looked_at / "written").exists() == writable
        if kind == "a file":
            assert (folder.looked_at / "key").read_text() == MINE + ("x" if writable else "")
    check_untouched(folder)


@pytest.mark.parametrize("writable", [True, False], ids=["rw", "ro"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("mounted")
def test_a_link_after_the_look_reaches_nothing(
    folder: Folder, engine: str, kind: str, writable: bool
) -> None:
    bind, script = KINDS[kind](folder, writable)
    said, why = attempt(ENGINES[engine](folder), run_of(folder, bind, script), folder.swap)
    check_attempt(folder, kind, engine, said, why, writable)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("mounted")
def test_unless_somebody_swaps_it_all_of_it_is_there(folder: Folder, engine: str, kind: str) -> None:
    bind, script = KINDS[kind](folder, True)
    said, why = attempt(ENGINES[engine](folder), run_of(folder, bind, script), lambda: None)
    twice = 2 if kind == "a directory with mounts" else 1
    assert (said, why) == (b"inside\n" + MINE.encode() * twice, "")
    check_untouched(folder)


@pytest.mark.parametrize("kind", ["a directory", "a file"])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_program_has_a_descriptor_of_the_host(folder: Folder, engine: str, kind: str) -> None:
    """Through one of a directory it could go up, and out of what is mounted."""
    bind, _ = KINDS[kind](folder, True)
    look = 'for fd in /proc/self/fd/*; do n=${fd##*/}; [ "$n" -gt 2 ] && readlink $fd && echo " is $n"; done'
    said, why = attempt(ENGINES[engine](folder), run_of(folder, bind, look), lambda: None)
    assert (said, why) == (b"inside\n", "")
    check_untouched(folder)


def test_no_witness_is_believed_that_saw_another_folder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is there when the witness's volumes are mounted, and gone again afterwards."""
    engine = docker_elsewhere(folder)
    make = ownership.make_helper_image

    def make_and_swap(program: str) -> None:
        make(program)
        folder.swap()

    monkeypatch.setattr(ownership, "make_helper_image", make_and_swap)
    said, why = attempt(engine, run_of(folder, *of_directory(folder, True)), folder.swap)
    assert said == b"" and "/in/one was replaced" in why
    check_untouched(folder)


@contextlib.contextmanager
def swapping(folder: Folder) -> Iterator[Callable[[], None]]:
    """The link comes and goes as fast as can be, from the call of what is yielded on."""
    begin, stop = threading.Event(), threading.Event()

    def swap_on_and_on() -> None:
        begin.wait()
        while not stop.is_set():
            folder.swap()
        if folder.is_swapped:
            folder.swap()

    swapper = threading.Thread(target=swap_on_and_on)
    swapper.start()
    try:
        yield begin.set
    finally:
        stop.set()
        begin.set()
        swapper.join()


@pytest.mark.parametrize("kind", ["a directory", "a file"])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_luck_in_many_rounds_leads_to_the_host(folder: Folder, engine: str, kind: str) -> None:
    """The witness is told paths while the worker prepares the mounts, the others when they start."""
    made = ENGINES[engine](folder)
    bind, _ = KINDS[kind](folder, True)
    script = f"cat {bind.target}" if bind.is_file else f"cat {bind.target}/key"
    seen: list[bytes] = []
    for _ in range(ROUNDS):
        with swapping(folder) as begin:
            if engine == "docker elsewhere":
                begin()
            run = run_of(folder, bind, script)
            seen.append(attempt(made, run, begin)[0])
    assert set(seen) <= {b"", b"inside\n" + MINE.encode()}
    check_untouched(folder)


def test_a_daemon_that_sees_nothing_of_ours_is_known_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    require_docker()
    assert Engine().is_beside_us()
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert not Engine().is_beside_us()
