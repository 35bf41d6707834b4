"""What the server reads of a job directory whose files somebody else has made."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tesp_api.errors import PulsarRefused
from tesp_api.pulsar import job_files, local_job
from tesp_api.pulsar.base import JobOrder
from tesp_api.pulsar.local_job import LocalJob


@pytest.fixture
def job(tmp_path: Path) -> LocalJob:
    job = LocalJob(tmp_path / "staging", "job-1")
    job.tesp.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    return job


def _link_of_a_folder(job: LocalJob, secret: Path) -> None:
    job.tesp.rmdir()
    job.tesp.symlink_to(secret.parent)
    (secret.parent / "result.json").write_bytes(b"secret")


TRAPS: dict[str, Callable[[LocalJob, Path], None]] = {
    "a link": lambda job, secret: (job.tesp / "result.json").symlink_to(secret),
    "a link to an endless file": lambda job, _: (job.tesp / "result.json").symlink_to("/dev/zero"),
    "a pipe": lambda job, _: os.mkfifo(job.tesp / "result.json"),
    "a folder that is a link": _link_of_a_folder,
    "a folder": lambda job, _: (job.tesp / "result.json").mkdir(),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_only_regular_files_of_the_job_are_read(job: LocalJob, tmp_path: Path, trap: str) -> None:
    TRAPS[trap](job, tmp_path / "secret")
    assert job.read("result.json") is None
    poured: list[bytes] = []
    assert not job.pour("result.json", poured.append) and not poured


def test_a_file_that_no_worker_writes_is_not_taken_into_memory(
    job: LocalJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job.tesp / "result.json").write_bytes(b"1234")
    assert job.read("result.json") == b"1234"
    monkeypatch.setattr(job_files, "READ_MAX_BYTES", 3)
    monkeypatch.setattr(local_job, "READ_MAX_BYTES", 3)
    with pytest.raises(PulsarRefused, match="more than 3 bytes"):
        job.read("result.json")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_job_has_its_worker_whether_or_not_it_could_be_linked(
    job: LocalJob, tmp_path: Path, is_there: bool
) -> None:
    shared = tmp_path / "worker.pyz"
    if is_there:
        shared.write_bytes(b"worker")
    for _ in range(2):  # as it is launched again
        job.place(JobOrder(job.job_id, b"worker", b"{}"), shared)
    placed = job.folder / "tool_files" / "tesp-worker.pyz"
    assert placed.read_bytes() == b"worker"
    assert not is_there or shared.read_bytes() == b"worker"
