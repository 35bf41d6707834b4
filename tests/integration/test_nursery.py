"""Workers that are forked are like those that are started, and outlive whoever forked them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tesp_api.pulsar.nursery import Forked, Nursery
from tesp_api.runner.worker_archive import build_local_worker_archive
from tests.integration.worker_job import WorkerJob, shell, wait_until

ENV = {"PATH": os.environ["PATH"], "TESP_TEST": "given"}


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path / "nursery", sys.executable)
    yield nursery
    nursery.close()
    wait_until(lambda: not process_of(tmp_path))


def process_of(folder: Path) -> list[psutil.Process]:
    place = str(folder / "nursery" / "worker.pyz")
    found = (process for process in psutil.process_iter(["cmdline", "ppid"]))
    return [one for one in found if place in (one.info["cmdline"] or ()) and one.info["ppid"] == os.getpid()]


def has_ended(process: psutil.Process) -> bool:
    """A zombie has: nobody may reap what has lost its parent here."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def job_of(tmp_path: Path, name: str = "job", script: str = "echo done") -> WorkerJob:
    return WorkerJob(tmp_path / name, "bubblewrap", executors=[shell(script)])


def fork(nursery: Nursery, job: WorkerJob, env: dict[str, str] | None = None) -> Forked:
    working = job.directory / "working"
    with (job.directory / "out").open("wb") as out, (job.directory / "err").open("wb") as err:
        return nursery.fork(
            build_local_worker_archive(), str(working), env or ENV, out.fileno(), err.fileno()
        )


def fork_running(nursery: Nursery, job: WorkerJob) -> Forked:
    worker = fork(nursery, job)
    wait_until(lambda: "executor_started" in job.event_names())
    return worker


def test_a_forked_worker_runs_its_task(nursery: Nursery, tmp_path: Path) -> None:
    jobs = [job_of(tmp_path, f"job-{number}") for number in range(3)]
    workers = [fork(nursery, job) for job in jobs]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert [job.result()["state"] for job in jobs] == ["COMPLETE"] * 3
    assert {job.log("0.stdout") for job in jobs} == {b"done\n"}
    assert len({job.result()["worker"] for job in jobs}) == 3


class LateNotes(dict[int, Forked]):
    """Of whom the nursery speaks, written down by a server that just lost the processor to it."""

    def __setitem__(self, number: int, worker: Forked) -> None:
        time.sleep(0.5)
        super().__setitem__(number, worker)


def test_an_answer_may_come_at_once(nursery: Nursery, tmp_path: Path) -> None:
    assert fork(nursery, job_of(tmp_path)).wait() == 0, "the nursery is there now, and waits"
    nursery._children = LateNotes()
    assert fork(nursery, job_of(tmp_path, "next")).wait() == 0


def test_it_is_a_process_like_one_that_is_started(nursery: Nursery, tmp_path: Path) -> None:
    """Of its own group, with its own environment, directory and streams, and nothing of the nursery's."""
    job = job_of(tmp_path, script="sleep 600")
    worker = fork_running(nursery, job)
    process = psutil.Process(worker.pid)
    assert os.getpgid(worker.pid) == worker.pid
    assert process.cwd() == str(job.directory / "working")
    links = {path.name: str(path.readlink()) for path in Path(f"/proc/{worker.pid}/fd").iterdir()}
    assert links["0"] == os.devnull
    assert (links["1"], links["2"]) == (str(job.directory / "out"), str(job.directory / "err"))
    assert not [link for link in links.values() if "socket" in link or "pidfd" in link]
    assert dict(process.environ()) == ENV, "nothing of the server's own environment"
    assert psutil.Process(worker.pid).ppid() == process_of(tmp_path)[0].pid
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait() == 0
    assert job.result()["state"] == "SYSTEM_ERROR" and "SIGTERM" in job.result()["reason"]


def test_it_has_the_environment_that_it_is_given(nursery: Nursery, tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert fork(nursery, job, {"PATH": "/nowhere"}).wait() == 0
    assert "bwrap" in job.result()["reason"], "it was looked for on another PATH"


def test_workers_outlive_the_nursery_and_are_waited_for(nursery: Nursery, tmp_path: Path) -> None:
    job = job_of(tmp_path, script="while [ ! -e /tmp/go ]; do sleep 0.05; done; echo on")
    worker = fork_running(nursery, job)
    (first,) = process_of(tmp_path)
    first.kill()
    waited: list[int] = []
    thread = threading.Thread(target=lambda: waited.append(worker.wait()))
    thread.start()
    other = job_of(tmp_path, "other")
    wait_until(lambda: not process_of(tmp_path))
    assert fork(nursery, other).wait() == 0, "there is another one for the next worker"
    assert not waited
    (job.directory / "task" / "fs" / "tmp" / "go").touch()
    thread.join(20)
    assert waited == [-1]
    assert (job.result()["state"], job.log("0.stdout")) == ("COMPLETE", b"on\n")


def test_workers_outlive_their_server(tmp_path: Path) -> None:
    job = job_of(tmp_path, script="while [ ! -e /tmp/go ]; do sleep 0.05; done")
    script = f"""
import sys
from pathlib import Path
from tesp_api.pulsar.nursery import Nursery
from tesp_api.runner.worker_archive import build_local_worker_archive
sink = open("/dev/null", "wb")
out = sink.fileno()
nursery = Nursery(Path({str(tmp_path / "nursery")!r}), sys.executable)
worker = nursery.fork(build_local_worker_archive(), {str(job.directory / "working")!r}, {ENV!r}, out, out)
print(worker.pid, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        worker = psutil.Process(int(server.stdout.readline()))
        nursery = worker.parent()
        server.kill()
    wait_until(lambda: has_ended(nursery))
    assert not has_ended(worker)
    wait_until(lambda: "executor_started" in job.event_names())
    (job.directory / "task" / "fs" / "tmp" / "go").touch()
    wait_until(lambda: (job.metadata / "result.json").exists())
    assert job.result()["state"] == "COMPLETE"


def test_a_nursery_that_hangs_is_left(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fork(nursery, job_of(tmp_path)).wait() == 0
    (first,) = process_of(tmp_path)
    first.suspend()
    monkeypatch.setattr("tesp_api.pulsar.nursery.PATIENCE_S", 0.2)
    with pytest.raises(OSError, match="forked no worker"):
        fork(nursery, job_of(tmp_path, "late"))
    monkeypatch.undo()
    wait_until(lambda: nursery._socket is None)
    assert fork(nursery, job_of(tmp_path, "next")).wait() == 0
    first.resume()


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_without_a_nursery_it_says_so_at_once(tmp_path: Path, python: str) -> None:
    with pytest.raises(OSError):
        fork(Nursery(tmp_path / "nursery", python), job_of(tmp_path))
