"""Snakemake 9.27.1 with snakemake-executor-plugin-tes 0.1.3: requests captured from a run against TESP."""

import httpx
import pytest

from tesp_api.store.base import TaskStore
from tests.compatibility.captured_requests import captured
from tests.integration.api.life import finish, start
from tests.services.tesp import TespServer

REQUESTS = captured("snakemake-9.27.1")


async def test_the_credentials_that_nobody_asked_for_are_ignored(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """Captured: without a user it sends the user `None` with the password `None`."""
    assert REQUESTS["create"].headers["authorization"] == "Basic Tm9uZTpOb25l"
    created = await api.request(**REQUESTS["create"].arguments())
    assert created.status_code == 200
    task_id = created.json()["id"]
    await finish(store, await start(store, task_id), b"")
    polled = await api.request(**REQUESTS["get MINIMAL"].filled(task_id=task_id).arguments())
    assert (polled.status_code, polled.json()) == (200, {"id": task_id, "state": "COMPLETE"})


async def test_a_script_of_128_kib_fits_into_the_task(api: httpx.AsyncClient) -> None:
    """It passes a job's script as content up to 131072 bytes.

    Source: snakemake-executor-plugin-tes 0.1.3, snakemake_executor_plugin_tes/__init__.py, _prepare_file.
    """
    script = REQUESTS["create"].body["inputs"][0]["content"]
    sent = REQUESTS["create"].body | {
        "inputs": [{"path": "/tmp/run_snakemake.sh", "content": script.ljust(131072, "#")}]
    }
    created = await api.post("/v1/tasks", json=sent)
    assert created.status_code == 200
    shown = (await api.get(f"/v1/tasks/{created.json()['id']}?view=FULL")).json()
    assert len(shown["inputs"][0]["content"]) == 131072


@pytest.mark.services
def test_each_task_finds_a_fresh_writable_tmp_with_its_script(server: TespServer) -> None:
    """Captured: the script lies in /tmp, is started there, and begins with `mkdir /tmp/conda && cd /tmp`."""
    create = REQUESTS["create"]
    script = create.body["inputs"][0]["content"]
    begin = "mkdir /tmp/conda && cd /tmp"
    assert begin in script
    shortened = script[: script.index(begin)] + f"{begin} && ls /tmp && pwd\n"
    sent = create.body | {"inputs": [create.body["inputs"][0] | {"content": shortened}]}
    made = [server.client.post(create.path, json=sent).json()["id"] for _ in range(2)]
    for task_id in made:
        task = server.wait(task_id)
        assert task["state"] == "COMPLETE", task
        assert task["logs"][0]["logs"][0]["stdout"] == "conda\nrun_snakemake.sh\n/tmp\n"
