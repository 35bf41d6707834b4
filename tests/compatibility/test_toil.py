"""Toil 7.0.0 with toil-batch-system-tes 2.0.0: requests captured from a workflow that ran on TESP.

"Its source" is toil_batch_system_tes/tes_batch_system.py of toil-batch-system-tes 2.0.0.
"""

from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tesp_api.store.base import TaskStore
from tests.compatibility.captured_requests import CapturedRequest, captured
from tests.compatibility.conftest import Roots
from tests.integration.api.life import V1, create, start
from tests.services.tesp import TespServer, poll

REQUESTS = captured("toil-7.0.0")


def create_running(script: str, root: Path) -> CapturedRequest:
    """The captured task with another program in place of Toil's, which is not installed here."""
    sent = REQUESTS["create"].filled(shared=str(root))
    executor = sent.body["executors"][0]
    executor["command"] = ["sh", "-c", script, *executor["command"]]
    return sent


async def test_service_info_tells_which_folders_can_be_mounted(api: httpx.AsyncClient) -> None:
    """Captured: its first request. The job store is mounted if its URL begins with one of `storage`.

    Source: its source, _server_can_mount.
    """
    answer = await api.request(**REQUESTS["service-info"].arguments())
    assert answer.status_code == 200
    assert answer.json()["storage"] == ["file:///shared"]


async def test_memory_and_disk_may_be_fractions_and_cores_are_whole(api: httpx.AsyncClient) -> None:
    """Captured: its sizes are bytes divided by 1024³."""
    sent = REQUESTS["create"].filled(shared="/shared")
    created = await api.request(**sent.arguments())
    assert created.status_code == 200
    shown = (await api.get(f"{V1}/tasks/{created.json()['id']}?view=BASIC")).json()["resources"]
    assert shown == sent.body["resources"]
    assert (type(shown["cpu_cores"]), shown["ram_gb"]) == (int, 0.1862645149230957)


@pytest.mark.services
def test_the_job_store_is_mounted_and_written_into(server: TespServer, roots: Roots) -> None:
    """Captured: the job store is a DIRECTORY input. What the job writes there Toil sees while it runs."""
    store = roots.mounted / "jobstore"
    store.mkdir()
    (store / "job").write_text("from the leader")
    script = f"cat {store}/job > {store}/result; until [ -e {store}/go ]; do sleep 0.02; done"
    created = create_running(script, roots.mounted).send(server.client)
    assert created.status_code == 200, created.text
    poll((store / "result").exists, timeout_s=30, why="what the job wrote is not in the job store")
    assert server.wait(created.json()["id"], states={"RUNNING"})["state"] == "RUNNING"
    (store / "go").touch()
    assert server.wait(created.json()["id"])["state"] == "COMPLETE"
    assert (store / "result").read_text() == "from the leader"
    assert {file.name for file in store.iterdir()} == {"job", "result", "go"}


@pytest.mark.services
def test_its_work_folder_is_tmp_and_can_be_written_to(server: TespServer, roots: Roots) -> None:
    """Captured: it sets TOIL_WORKDIR=/tmp, since not every server lets it write elsewhere."""
    (roots.mounted / "jobstore").mkdir(exist_ok=True)
    script = "touch $TOIL_WORKDIR/file && ls $TOIL_WORKDIR/file && echo $OMP_NUM_THREADS"
    task_id = create_running(script, roots.mounted).send(server.client).json()["id"]
    assert server.wait(task_id)["logs"][0]["logs"][0]["stdout"] == "/tmp/file\n1\n"


@pytest.mark.services
def test_a_failed_job_has_its_exit_code_its_stderr_and_its_time(server: TespServer, roots: Roots) -> None:
    """Captured: after the end it asks for FULL once.

    It takes the last exit code that is a number and the last stderr, and subtracts the times, which
    therefore need an offset. Source: its source, _get_exit_code, __get_log_text, _get_runtime.
    """
    (roots.mounted / "jobstore").mkdir(exist_ok=True)
    task_id = create_running("echo oops >&2; exit 7", roots.mounted).send(server.client).json()["id"]
    server.wait(task_id)
    state = REQUESTS["get MINIMAL"].filled(task_id=task_id).send(server.client).json()["state"]
    full = REQUESTS["get FULL"].filled(task_id=task_id).send(server.client).json()
    assert (state, full["state"]) == ("EXECUTOR_ERROR", "EXECUTOR_ERROR")
    (log,) = full["logs"]
    assert (log["logs"][-1]["exit_code"], log["logs"][-1]["stderr"]) == (7, "oops\n")
    started, ended = (datetime.fromisoformat(log[name]) for name in ("start_time", "end_time"))
    assert started.utcoffset() is not None
    assert started <= ended


async def test_a_job_that_it_kills_is_canceled_at_once_and_for_good(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """It polls until a final state and knows no CANCELING; a second cancel must not fail.

    Source: its source, getUpdatedBatchJob, killBatchJobs and _try_cancel (only 409 and 500 are forgiven).
    """
    task_id = await create(api, V1)
    await start(store, task_id)
    for _ in range(2):
        canceled = await api.post(f"{V1}/tasks/{task_id}:cancel")
        assert (canceled.status_code, canceled.json()) == (200, {})
        polled = await api.request(**REQUESTS["get MINIMAL"].filled(task_id=task_id).arguments())
        assert polled.json() == {"id": task_id, "state": "CANCELED"}
