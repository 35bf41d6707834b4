"""The worker tells how far a directory is as one transfer, and nothing of what is quick."""

from pathlib import Path

import pytest

from tests.integration.worker_job import WorkerJob, shell, wait_until
from tests.services.gated_http import GatedHttp

pytestmark = pytest.mark.services


def test_the_files_of_a_directory_are_summed_up(tmp_path: Path) -> None:
    with GatedHttp() as web:
        web.held.add("/out/c")
        job = WorkerJob(
            tmp_path / "job",
            "bubblewrap",
            volumes=["/vol"],
            executors=[
                shell("mkdir /vol/out; for f in a b c; do head -c 1000 /dev/zero > /vol/out/$f; done")
            ],
            outputs=[{"path": "/vol/out", "url": f"{web.url}/out", "type": "DIRECTORY"}],
        )
        process = job.start()
        told = wait_until(lambda: [event for event in job.events() if event["event"] == "transfer"])
        web.open_gate()
        assert process.wait(30) == 0
    about = {"direction": "output", "url": f"{web.url}/out", "path": "/vol/out", "total_bytes": None}
    assert told[0].items() >= {**about, "files_done": 2, "files_total": 3, "ended": False}.items()
    last = [event for event in job.events() if event["event"] == "transfer"][-1]
    assert last.items() >= {**about, "done_bytes": 3000, "files_done": 3, "ended": True}.items()
    assert job.result()["state"] == "COMPLETE"


def test_many_quick_files_are_not_told_of(tmp_path: Path) -> None:
    (tmp_path / "root" / "in").mkdir(parents=True)
    for number in range(300):
        (tmp_path / "root" / "in" / str(number)).write_text("x")
    job = WorkerJob(
        tmp_path / "job",
        "bubblewrap",
        [{"path": str(tmp_path / "root"), "mount": "copy"}],
        inputs=[{"path": "/in", "url": f"{tmp_path}/root/in", "type": "DIRECTORY"}],
        executors=[shell("true")],
    )
    assert job.run()["state"] == "COMPLETE"
    assert "transfer" not in job.event_names()
