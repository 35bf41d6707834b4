"""The task's files go, whatever they are; the space of large ones is freed when it suits."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from tesp_api.worker import removal, run
from tesp_api.worker.job import JobDirectory
from tesp_api.worker.record import Record
from tesp_api.worker.removal import Held, remove_for_certain
from tesp_api.worker.result import Result
from tesp_api.worker.watchdog import Watchdog

IN_MEMORY = Path("/dev/shm")
"""On no block device, on any Linux."""


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "LARGE_BYTES", 1_000_000)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A large file, one that only seems so, and a small one, on a disk."""
    if not os.major(tmp_path.stat().st_dev):
        pytest.skip("the folder for temporary files is on no block device")
    return fill(tmp_path / "task")


def fill(tree: Path) -> Path:
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "large").write_bytes(b"x" * 1_100_000)
    (tree / "small").write_bytes(b"x")
    (tree / "link").symlink_to("deep/large")
    with (tree / "sparse").open("wb") as file:
        file.truncate(50_000_000)
    return tree


def unnamed_below(tree: Path) -> list[str]:
    """The names of files that are gone, and whose space is not free."""
    targets = []
    for place in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of this very list
            targets.append(str(place.readlink()))
    return [
        Path(target).name.removesuffix(" (deleted)")
        for target in targets
        if target.startswith(f"{tree}/") and target.endswith(" (deleted)")
    ]


def test_the_space_of_a_large_file_is_freed_when_it_is_let_go(tree: Path) -> None:
    held = Held()
    assert remove_for_certain(str(tree), held)
    assert not tree.exists()
    assert unnamed_below(tree) == ["large"]
    held.let_go()
    assert unnamed_below(tree) == []


def test_there_is_a_limit_to_what_is_held(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "MOST_HELD_BYTES", 2_000_000)
    (tree / "another").write_bytes(b"x" * 1_100_000)
    held = Held()
    assert remove_for_certain(str(tree), held)
    assert len(unnamed_below(tree)) == 1
    held.let_go()


def test_nothing_is_held_where_open_files_keep_a_name() -> None:
    tree = fill(IN_MEMORY / f"tesp-test-{os.getpid()}")
    assert remove_for_certain(str(tree), Held())
    assert not tree.exists()
    assert unnamed_below(tree) == []


def test_a_result_that_finds_no_room_gets_that_of_the_large_files(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobDirectory(str(tree.parent))
    job.close_to_others()
    record = Record(job, "", 5.0, None)
    held_at_writing = []
    write = Result.write

    def write_where_there_is_room(result: Result, *arguments: object) -> None:
        held_at_writing.append(unnamed_below(tree))
        if held_at_writing[-1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(result, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Result, "write", write_where_there_is_room)
    code = run._finish(job, record, Result(), Watchdog(os.open(os.devnull, os.O_WRONLY)), [])
    assert (code, held_at_writing) == (0, [["large"], []])
    assert Path(job.result).exists()
