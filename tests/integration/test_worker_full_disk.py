"""The disk with the job's directory is full: the worker says so, and leaves a result all the same."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.worker_job import WorkerJob, shell, wait_until
from tests.services.small_disk import SmallDisk

pytestmark = pytest.mark.services

ROOM_BYTES = 4 * 1024 * 1024
WAIT = "touch /gate/here; while [ ! -e /gate/open ]; do sleep 0.05; done; "


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "site", ROOM_BYTES) as disk:
        yield disk


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    (tmp_path / "gate").mkdir()
    return tmp_path / "gate"


def job_with(disk: SmallDisk, gate: Path, script: str) -> WorkerJob:
    return WorkerJob(
        disk.folder / "job",
        "bubblewrap",
        [{"path": str(gate), "mount": "rw"}],
        inputs=[{"url": str(gate), "path": "/gate", "type": "DIRECTORY"}],
        executors=[shell(script)],
    )


def test_a_disk_that_fills_up_while_an_executor_talks(disk: SmallDisk, gate: Path) -> None:
    job = job_with(disk, gate, f"{WAIT}seq 1 200000")
    process = job.start()
    wait_until((gate / "here").exists)
    disk.fill()
    (gate / "open").touch()
    process.communicate(timeout=60)
    result = job.result()
    assert result["state"] == "SYSTEM_ERROR"
    assert result["reason"].startswith("The disk with the job's directory is full: No space left")
    assert job.heartbeat()["ended"]
    assert not (job.directory / "task").exists()


def test_a_disk_that_is_full_from_the_start(disk: SmallDisk, gate: Path) -> None:
    """Nothing has begun, so that the task may begin elsewhere, or here when there is room."""
    job = job_with(disk, gate, "touch /gate/ran")
    disk.fill()
    done = subprocess.run(job.command(), capture_output=True, check=False, timeout=60)
    assert done.returncode != 0
    assert b"No space left" in done.stderr.splitlines()[-1]
    assert not (job.metadata / "started").exists()
    disk.free()
    assert job.run()["state"] == "COMPLETE"
    assert (gate / "ran").exists()
    assert not (job.metadata / "reserve").exists()
