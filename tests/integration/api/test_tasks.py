"""Creating, showing and canceling tasks under both prefixes."""

import json
import re
from typing import Any

import httpx
import pytest

from tesp_api.bell import Bell
from tesp_api.store.base import TaskQuery, TaskStore
from tests.integration.api.life import TES, V1, RingingBell, create, finish, nulls_in, start

PREFIXES = pytest.mark.parametrize("prefix", [TES, V1])


async def get(client: httpx.AsyncClient, prefix: str, task_id: str, view: str | None = None) -> Any:
    answer = await client.get(f"{prefix}/tasks/{task_id}", params={"view": view} if view else {})
    assert answer.status_code == 200, answer.text
    assert nulls_in(answer.json()) == []
    return answer.json()


@PREFIXES
async def test_a_created_task_is_queued_and_the_runner_is_called(
    client: httpx.AsyncClient, bell: RingingBell, prefix: str
) -> None:
    task_id = await create(client, prefix)
    assert re.fullmatch(r"[A-Za-z0-9-]+", task_id)
    assert bell.rung == [task_id]
    assert await get(client, prefix, task_id) == {"id": task_id, "state": "QUEUED"}


@PREFIXES
async def test_what_was_sent_comes_back_and_nothing_else(client: httpx.AsyncClient, prefix: str) -> None:
    sent = {
        "name": "n",
        "executors": [{"image": "alpine", "command": ["cat", "/in"], "env": {"A": ""}}],
        "inputs": [{"path": "/in", "content": "ü\n"}],
        "tags": {"k": "v"},
        "resources": {"cpu_cores": 1, "ram_gb": 0.5},
    }
    task_id = await create(client, prefix, **sent)
    full = await get(client, prefix, task_id, "FULL")
    assert full.pop("id") == task_id
    assert full.pop("state") == "QUEUED"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", full.pop("creation_time"))
    assert full.pop("logs") == []
    assert full.pop("inputs") == [{"path": "/in", "content": "ü\n", "type": "FILE"}]
    del sent["inputs"]
    assert full == sent


@PREFIXES
async def test_the_views_of_a_finished_task(client: httpx.AsyncClient, store: TaskStore, prefix: str) -> None:
    task_id = await create(client, prefix, inputs=[{"path": "/a", "content": "x"}])
    await finish(store, await start(store, task_id), b"x" * 5000 + b"end\xff\n", b"warning")
    assert await get(client, prefix, task_id, "minimal") == {"id": task_id, "state": "COMPLETE"}
    basic = await get(client, prefix, task_id, "BASIC")
    assert basic["inputs"] == [{"path": "/a", "type": "FILE"}]
    assert basic["logs"][0]["logs"] == [{"start_time": "2026-01-01T00:00:00+00:00", "exit_code": 0}]
    assert basic["logs"][0]["outputs"] == [{"url": "file:///o", "path": "/o", "size_bytes": "12"}]
    assert "system_logs" not in basic["logs"][0]
    full = await get(client, prefix, task_id, "FULL")
    [executor] = full["logs"][0]["logs"]
    assert executor["stdout"] == "x" * 995 + "end\ufffd\n"  # the tail that the settings ask for
    assert executor["stderr"] == "warning"
    assert full["logs"][0]["system_logs"][1:] == ["image pulled"]  # after the name of the request


async def test_a_dropped_backend_parameter_is_told_in_system_logs(
    client: httpx.AsyncClient, store: TaskStore
) -> None:
    task_id = await create(client, resources={"backend_parameters": {"VmSize": "big"}})
    await finish(store, await start(store, task_id), b"")
    full = await get(client, TES, task_id, "FULL")
    assert full["resources"] == {}
    assert "'VmSize'" in full["logs"][0]["system_logs"][1]


async def test_cancel_answers_at_once_and_each_prefix_shows_its_states(
    client: httpx.AsyncClient, store: TaskStore, bell: RingingBell
) -> None:
    task_id = await create(client)
    await start(store, task_id)
    for _ in range(2):
        answer = await client.post(f"{TES}/tasks/{task_id}:cancel")
        assert (answer.status_code, answer.json()) == (200, {})
    assert bell.rung == [task_id] * 3
    assert (await get(client, TES, task_id))["state"] == "CANCELING"
    assert (await get(client, V1, task_id))["state"] == "CANCELED"


@PREFIXES
async def test_cancel_changes_nothing_of_an_ended_task(
    client: httpx.AsyncClient, store: TaskStore, prefix: str
) -> None:
    task_id = await create(client)
    await finish(store, await start(store, task_id), b"")
    answer = await client.post(f"{prefix}/tasks/{task_id}:cancel", json={"ignored": True})
    assert (answer.status_code, answer.json()) == (200, {})
    assert (await get(client, prefix, task_id))["state"] == "COMPLETE"


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "no/such; x"]
)
async def test_the_content_type_does_not_matter(client: httpx.AsyncClient, content_type: str) -> None:
    body = json.dumps({"executors": [{"image": "a", "command": ["b"]}]})
    answer = await client.post(f"{TES}/tasks", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200


async def test_snakemake_sends_credentials_that_nobody_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{V1}/tasks", auth=("None", "None"))
    assert answer.status_code == 200


async def test_a_bell_that_fails_does_not_fail_the_create(client: httpx.AsyncClient, bell: Bell) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("nobody there")

    bell.listen(fail)
    await create(client)


BAD_BODIES = [b"", b"{", b"[]", b"null", b"\xff", b"[" * 9999, b'{"executors": [NaN]}', b'{"executors": []}']


@pytest.mark.parametrize("body", BAD_BODIES)
async def test_a_bad_body_is_400_with_faults_and_stores_nothing(
    client: httpx.AsyncClient, store: TaskStore, bell: RingingBell, body: bytes
) -> None:
    answer = await client.post(f"{TES}/tasks", content=body)
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["status_code"] == 400
    assert problem["faults"][0].keys() == {"field", "message"}
    assert (await store.list_states(TaskQuery())).items == []
    assert bell.rung == []


async def test_both_prefixes_show_the_same_tasks(client: httpx.AsyncClient) -> None:
    task_id = await create(client, V1)
    assert (await get(client, TES, task_id))["id"] == task_id


@pytest.mark.parametrize("task_id", ["nobody", "%00", "a%2Fb", "..%2f..%2fetc", "ü", "x" * 5000, "a:cancel"])
async def test_an_unknown_task_is_404(client: httpx.AsyncClient, task_id: str) -> None:
    for answer in (
        await client.get(f"{TES}/tasks/{task_id}"),
        await client.get(f"{TES}/tasks/{task_id}?view=FULL"),
        await client.post(f"{TES}/tasks/{task_id}:cancel"),
    ):
        assert answer.status_code == 404
        assert answer.json()["status_code"] == 404


async def test_service_info_is_complete(client: httpx.AsyncClient, tmp_path: Any) -> None:
    for prefix in (TES, V1):
        info = (await client.get(f"{prefix}/service-info")).json()
        assert {"id", "name", "type", "organization", "version", "storage"} <= info.keys()
        assert info["type"] == {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"}
        assert info["organization"].keys() == {"name", "url"}
        assert info["storage"] == [f"file://{tmp_path}/shared%20space", "file:///data"]
        assert {"credentials", "destination", "walltime_s"} <= set(info["tesResources_backend_parameters"])
        assert "/tesp/v1/tasks/{id}/history" in info["description"]
        assert nulls_in(info) == []


async def test_toil_looks_for_service_info_below_tasks(client: httpx.AsyncClient) -> None:
    # Source: toil, batchSystems/tes.py with py-tes 0.4.2.
    info = (await client.get(f"{V1}/tasks/service-info")).json()
    assert info.keys() == {"name", "doc", "storage"}
    assert (await client.get(f"{TES}/tasks/service-info")).status_code == 404
