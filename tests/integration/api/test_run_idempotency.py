"""A client that timed out sends its request for a run again with the same Idempotency-Key: one run."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import RunQuery
from tesp_api.wes.workflows import Workflows
from tests.fakes.workshop import workflows_over
from tests.integration.api.life import connect
from tests.integration.api.test_runs import FORM, TESP, WEB, WES, attach, claimed, end


async def post(
    client: httpx.AsyncClient, key: str, fields: Mapping[str, str] = FORM, **files: bytes
) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await client.post(f"{WES}/runs", data=dict(fields), files=attach(**files), headers=headers)


async def stored(workflows: Workflows) -> list[str]:
    return [run.id for run in (await workflows.runs.list_runs(RunQuery())).items]


async def test_the_same_request_is_the_same_run(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    fields = FORM | {"workflow_params": '{"a": 1, "b": 2}', "unknown": "field"}
    first = await post(client, "k", fields, data__x=b"one")
    spelt = FORM | {"workflow_params": '{"b":2,\n"a":1}'}
    again = await post(client, '"k"', spelt, data__x=b"one")
    assert first.status_code == again.status_code == 200, again.text
    assert first.json() == again.json()
    assert await stored(workflows) == [first.json()["run_id"]]
    assert [one.name for one in (settings.data_dir / "wes/work").iterdir()] == await stored(workflows)


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({"workflow_params": '{"a": 2}'}, {"x": b"one"}),
        ({"tags": '{"a": "2"}'}, {"x": b"one"}),
        ({}, {"x": b"two"}),
        ({}, {"y": b"one"}),
        ({}, {}),
    ],
)
async def test_another_run_under_the_same_key_is_409(
    client: httpx.AsyncClient, workflows: Workflows, fields: dict[str, str], files: dict[str, bytes]
) -> None:
    first = await post(client, "k", x=b"one")
    refused = await post(client, "k", FORM | fields, **files)
    assert refused.status_code == refused.json()["status_code"] == 409
    assert "the Idempotency-Key 'k' was used for another run" in refused.json()["msg"]
    assert await stored(workflows) == [first.json()["run_id"]]


async def test_of_requests_at_the_same_time_one_creates(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    answers = await asyncio.gather(*(post(client, "k", x=b"one") for _ in range(12)))
    [run_id] = {answer.json()["run_id"] for answer in answers}
    assert await stored(workflows) == [run_id]
    folders = list((settings.data_dir / "wes/work").iterdir())
    assert [one.name for one in folders] == [run_id]
    assert (folders[0] / "attachments/x").read_bytes() == b"one"


async def test_json_has_a_key_too(client: httpx.AsyncClient, workflows: Workflows) -> None:
    for _ in range(2):
        answer = await client.post(f"{WES}/runs", json=WEB, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 200
    assert await stored(workflows) == [answer.json()["run_id"]]
    await client.post(f"{WES}/runs", json=WEB)
    assert len(await stored(workflows)) == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_bad_key_is_400_and_nothing_is_stored(
    client: httpx.AsyncClient, workflows: Workflows, key: str
) -> None:
    answer = await post(client, key)
    assert answer.status_code == 400
    assert answer.json()["faults"][0]["field"] == "Idempotency-Key"
    assert await stored(workflows) == []


async def test_a_repeat_is_answered_where_there_is_no_room_for_another(
    store: TaskStore, settings: Settings
) -> None:
    few = settings.model_copy(update={"wes": settings.wes.model_copy(update={"live_max": 1})})
    async with connect(build_api(store, Bell(), few, {}, workflows=workflows_over(store, few))) as client:
        first = await post(client, "k")
        assert (await post(client, "k")).json() == first.json()
        assert (await post(client, "other")).status_code == 429


async def test_the_key_is_kept_as_long_as_the_run(client: httpx.AsyncClient, workflows: Workflows) -> None:
    run_id = (await post(client, "k")).json()["run_id"]
    await end(workflows, run_id, await claimed(workflows, run_id))
    assert (await post(client, "k")).json() == {"run_id": run_id}
    assert (await client.delete(f"{TESP}/runs/{run_id}")).status_code == 204
    anew: Any = (await post(client, "k", FORM | {"tags": json.dumps({"other": "body"})})).json()
    assert anew["run_id"] != run_id
