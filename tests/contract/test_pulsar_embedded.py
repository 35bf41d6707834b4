"""What only the embedded Pulsar promises: bells, certain answers, and no harm to strangers."""

import asyncio
import io
import json
import os
import socket
import subprocess
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.base import JobOrder, JobState
from tesp_api.pulsar.embedded import EmbeddedPulsar
from tesp_api.pulsar.processes import kill_tree, processes_in, read_stat
from tests.contract.pulsar_sites import eventually, is_running, started_pid
from tests.contract.tiny_worker import tiny_order

SOON_S = 2.0


@pytest.fixture
async def pulsar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedPulsar]:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    pulsar = EmbeddedPulsar("embedded", tmp_path / "data")
    await pulsar.open()
    yield pulsar
    await pulsar.aclose()
    for process in processes_in(tmp_path):
        if process.pid != os.getpid():
            kill_tree(process)


@pytest.fixture
def stranger() -> Iterator[int]:
    """The pid of a process that is none of ours."""
    with subprocess.Popen(["sleep", "60"], cwd="/") as process:
        yield process.pid
        process.kill()


def archive(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as worker:
        worker.writestr("__main__.py", source)
    return buffer.getvalue()


async def seconds_until_news(pulsar: EmbeddedPulsar, job_id: str) -> float:
    begun = time.monotonic()
    await pulsar.wait_for_news(job_id, 10)
    return time.monotonic() - begun


async def quiet(pulsar: EmbeddedPulsar, job_id: str) -> None:
    """Take what news there is, so that only later news ends the next wait."""
    await started_pid(pulsar, job_id)
    await pulsar.wait_for_news(job_id, 0.05)


def ring(bell: str, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
        ringer.sendto(text, "\0" + bell)


async def test_nothing_is_left_in_the_working_directory(pulsar: EmbeddedPulsar) -> None:
    await pulsar.launch(tiny_order("job-1"))
    await eventually(lambda: pulsar.read_file("job-1", "result.json"))
    assert list(Path.cwd().iterdir()) == []


async def test_a_ring_is_news_for_its_job_alone(pulsar: EmbeddedPulsar) -> None:
    assert pulsar.bell is not None
    for job_id in ("job-1", "job-2"):
        await pulsar.launch(tiny_order(job_id, until="go"))
        await quiet(pulsar, job_id)
    both = asyncio.gather(seconds_until_news(pulsar, "job-1"), pulsar.wait_for_news("job-2", 0.5))
    await asyncio.sleep(0)
    ring(pulsar.bell, b"job-1")
    ring(pulsar.bell, b"\xff nobody's job")
    begun = time.monotonic()
    waited, _ = await both
    assert waited < 0.4
    assert time.monotonic() - begun >= 0.4


async def test_a_ring_before_the_wait_is_not_lost(pulsar: EmbeddedPulsar) -> None:
    assert pulsar.bell is not None
    await pulsar.launch(tiny_order("job-1", until="go"))
    await quiet(pulsar, "job-1")
    ring(pulsar.bell, b"job-1")
    await asyncio.sleep(0.05)
    assert await seconds_until_news(pulsar, "job-1") < SOON_S


async def test_a_worker_can_ring(pulsar: EmbeddedPulsar) -> None:
    await pulsar.launch(tiny_order("job-1", until="go", bell=pulsar.bell))
    await quiet(pulsar, "job-1")
    waiting = asyncio.create_task(seconds_until_news(pulsar, "job-1"))
    await pulsar.write_file("job-1", "ring", b"")
    assert await waiting < SOON_S
    assert await pulsar.read_file("job-1", "rang") is not None


async def test_the_end_of_the_process_is_news_once(pulsar: EmbeddedPulsar) -> None:
    await pulsar.launch(tiny_order("job-1", until="go"))
    await quiet(pulsar, "job-1")
    waiting = asyncio.create_task(seconds_until_news(pulsar, "job-1"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await pulsar.write_file("job-1", "go", b"")
    assert await waiting < SOON_S
    assert (await pulsar.status("job-1")).state is JobState.ENDED
    begun = time.monotonic()
    await pulsar.wait_for_news("job-1", 0.2)
    assert time.monotonic() - begun >= 0.2


async def test_the_bell_is_the_same_after_a_restart(pulsar: EmbeddedPulsar, tmp_path: Path) -> None:
    assert EmbeddedPulsar("again", tmp_path / "data").bell == pulsar.bell
    assert EmbeddedPulsar("other", tmp_path / "other").bell != pulsar.bell


async def test_a_taken_bell_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pulsar = EmbeddedPulsar("embedded", tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as squatter:
        squatter.bind(f"\0{pulsar.bell}")
        await pulsar.open()
    assert pulsar.bell is None
    assert "polling" in caplog.text
    await pulsar.launch(tiny_order("job-1"))
    await eventually(lambda: pulsar.read_file("job-1", "result.json"))
    await pulsar.aclose()


async def test_a_worker_that_cannot_start_has_ended_for_certain(pulsar: EmbeddedPulsar) -> None:
    await pulsar.launch(JobOrder("job-1", b"not an archive", b"{}"))

    async def ended() -> bool:
        await pulsar.wait_for_news("job-1", 10)
        return (await pulsar.status("job-1")).state is JobState.ENDED

    async with asyncio.timeout(5):
        await eventually(ended)
    assert (await pulsar.status("job-1")).certain


async def test_a_job_that_died_before_its_worker_started_can_be_launched_again(
    pulsar: EmbeddedPulsar,
) -> None:
    await pulsar.launch(JobOrder("job-1", b"not an archive", b"{}"))

    async def ended() -> bool:
        return (await pulsar.status("job-1")).state is JobState.ENDED

    await eventually(ended)
    await pulsar.launch(tiny_order("job-1"))
    await eventually(lambda: pulsar.read_file("job-1", "result.json"))


async def test_a_job_set_up_but_not_launched_is_pending(pulsar: EmbeddedPulsar, tmp_path: Path) -> None:
    (tmp_path / "data" / "staging" / "job-1" / "metadata").mkdir(parents=True)
    status = await pulsar.status("job-1")
    assert (status.state, status.certain) == (JobState.PENDING, False)


async def test_a_process_that_pulsar_did_not_live_to_record_is_found(
    pulsar: EmbeddedPulsar, tmp_path: Path
) -> None:
    slow_to_start = archive("import time; open('../begun', 'x').close(); time.sleep(60)")
    await pulsar.launch(JobOrder("job-1", slow_to_start, b"{}"))
    folder = tmp_path / "data" / "staging" / "job-1"
    await eventually(lambda: asyncio.to_thread((folder / "begun").exists))
    (folder / "pid").unlink()
    status = await pulsar.status("job-1")
    assert (status.state, status.certain) == (JobState.RUNNING, True)
    before = processes_in(folder)

    await pulsar.launch(JobOrder("job-1", slow_to_start, b"{}"))
    assert processes_in(folder) == before

    await pulsar.cancel("job-1")
    await eventually(lambda: asyncio.to_thread(lambda: not processes_in(folder)))


@pytest.mark.parametrize("recorded_by", ["worker", "pulsar"])
async def test_a_stranger_with_a_recorded_pid_is_neither_killed_nor_believed(
    pulsar: EmbeddedPulsar, tmp_path: Path, stranger: int, recorded_by: str
) -> None:
    await pulsar.launch(tiny_order("job-1"))
    await eventually(lambda: pulsar.read_file("job-1", "result.json"))
    folder = tmp_path / "data" / "staging" / "job-1"
    stat = read_stat(stranger)
    assert stat is not None
    started = {"pid": stranger, "pid_started": stat.process.started - 1}
    if recorded_by == "worker":
        (folder / "metadata" / "tesp" / "started").write_text(json.dumps(started))
    else:
        (folder / "metadata" / "tesp" / "started").unlink()
        (folder / "pid").write_text(str(stranger))

    status = await pulsar.status("job-1")
    await pulsar.cancel("job-1")

    assert (status.state, status.certain) == (JobState.ENDED, True)
    assert is_running(stranger)


async def test_a_directory_that_cannot_be_removed_is_told(
    pulsar: EmbeddedPulsar, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pulsar.launch(tiny_order("job-1"))
    await eventually(lambda: pulsar.read_file("job-1", "result.json"))
    with monkeypatch.context() as patch:
        patch.setattr("tesp_api.pulsar.local_job.shutil.rmtree", lambda *args, **kwargs: None)
        with pytest.raises(PulsarUnavailable, match="removed"):
            await pulsar.clean("job-1")
    await pulsar.clean("job-1")


async def test_what_another_user_left_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a container's root, say, when its worker was killed with its watchdog."""
    taken: list[Path] = []
    with monkeypatch.context() as patch:

        def take_over(folder: Path) -> None:
            taken.append(folder)
            patch.undo()

        pulsar = EmbeddedPulsar("embedded", tmp_path, take_over=take_over)
        await pulsar.open()
        try:
            await pulsar.launch(tiny_order("job-1"))
            await eventually(lambda: pulsar.read_file("job-1", "result.json"))
            patch.setattr("tesp_api.pulsar.local_job.shutil.rmtree", lambda *args, **kwargs: None)
            await pulsar.clean("job-1")
        finally:
            await pulsar.aclose()
    assert taken == [tmp_path / "staging" / "job-1"]
    assert not taken[0].exists()


async def test_a_running_job_is_not_cleaned_under_its_worker(pulsar: EmbeddedPulsar) -> None:
    await pulsar.launch(tiny_order("job-1", until="go"))
    await started_pid(pulsar, "job-1")
    with pytest.raises(PulsarUnavailable, match="still runs"):
        await pulsar.clean("job-1")
    assert await pulsar.read_file("job-1", "runs") == b"run\n"
    await pulsar.write_file("job-1", "go", b"")
    await pulsar.clean("job-1")
    assert (await pulsar.status("job-1")).state is JobState.UNKNOWN


async def test_a_full_or_forbidden_disk_is_unavailable(pulsar: EmbeddedPulsar, tmp_path: Path) -> None:
    await pulsar.launch(tiny_order("job-1"))
    (tmp_path / "data" / "staging" / "job-1" / "metadata" / "tesp" / "in-the-way").mkdir(parents=True)
    with pytest.raises(PulsarUnavailable):
        await pulsar.write_file("job-1", "in-the-way", b"")


async def test_it_knows_its_own_jobs_also_after_a_restart(pulsar: EmbeddedPulsar, tmp_path: Path) -> None:
    assert await pulsar.own_jobs() == []
    await pulsar.set_up("job-2")
    await pulsar.set_up("job-1")
    again = EmbeddedPulsar("embedded", tmp_path / "data")
    await again.open()
    try:
        assert await again.own_jobs() == ["job-1", "job-2"]
    finally:
        await again.aclose()
    await pulsar.clean("job-1")
    assert await pulsar.own_jobs() == ["job-2"]
