"""Why the site ends a job: what it left on the job's stderr, and whether the task's time was over."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesp_api.worker import farewell
from tesp_api.worker.errors import EndedBySite, OutOfTime
from tesp_api.worker.farewell import Farewell, last_line

SLURM = "slurmstepd: error: *** JOB 7 ON node CANCELLED AT 2026-01-01T00:00:00"


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that stands for the job's stderr."""
    file = tmp_path / "job_stderr"
    file.touch()
    descriptor = os.open(file, os.O_WRONLY)
    monkeypatch.setattr(farewell, "STDERR", descriptor)
    yield file
    os.close(descriptor)


def end(walltime_s: int | None = None) -> EndedBySite:
    ending = Farewell()
    ending.walltime_s = walltime_s
    with pytest.raises(EndedBySite) as told:
        os.kill(os.getpid(), signal.SIGTERM)
    return told.value


def test_a_signal_without_a_word(stderr: Path) -> None:
    assert (str(end()), end().cause) == ("The site ended the job with SIGTERM", "ended_by_site")


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (f"{SLURM} ***", "ended_by_site"),
        (f"{SLURM} DUE TO PREEMPTION ***", "ended_by_site"),
        (f"{SLURM} DUE TO TIME LIMIT ***", "time_limit"),
    ],
)
def test_what_slurm_says_is_the_reason(stderr: Path, words: str, cause: str) -> None:
    stderr.write_text(f"something else\n\x1b{words}\n\n")
    told = end()
    assert (str(told), told.cause) == (f"The site ended the job with SIGTERM: {words}", cause)


def test_a_time_that_is_over_is_told_without_words_too(stderr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert end(walltime_s=60).cause == "ended_by_site"
    monkeypatch.setattr(farewell, "NEARLY", 0.0)
    told = end(walltime_s=60)
    assert isinstance(told, OutOfTime)
    assert str(told).endswith("after 0 s: its time limit is walltime_s = 60")


def test_a_long_file_is_read_from_its_end(stderr: Path) -> None:
    stderr.write_bytes(b"\xff" * 5000 + b"\n" + b"x" * 400 + b"\n")
    assert last_line(farewell.STDERR) == "x" * 300


def test_what_is_no_file_says_nothing() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"words\n")
    assert (last_line(reading), last_line(-1)) == ("", "")
    os.close(reading)
    os.close(writing)
