"""Filters, pages and views of lists."""

from typing import Any

import httpx
import pytest

from tesp_api.store import log_tails
from tesp_api.store.base import Changes, TaskStore
from tesp_api.tes.states import State
from tests.integration.api.life import TES, V1, create, finish, nulls_in, start


async def listed(client: httpx.AsyncClient, query: str = "", prefix: str = TES) -> Any:
    answer = await client.get(f"{prefix}/tasks?{query}")
    assert answer.status_code == 200, answer.text
    assert nulls_in(answer.json()) == []
    return answer.json()


async def ids(client: httpx.AsyncClient, query: str = "", prefix: str = TES) -> list[str]:
    return [task["id"] for task in (await listed(client, query, prefix))["tasks"]]


async def test_an_empty_list_has_no_token(client: httpx.AsyncClient) -> None:
    assert await listed(client) == {"tasks": []}


async def test_pages_are_newest_first_and_stable(client: httpx.AsyncClient) -> None:
    made = [await create(client) for _ in range(5)]
    first = await listed(client, "page_size=2")
    assert first["tasks"] == [{"id": made[4], "state": "QUEUED"}, {"id": made[3], "state": "QUEUED"}]
    await create(client)
    second = await listed(client, f"page_size=2&page_token={first['next_page_token']}")
    third = await listed(client, f"page_size=2&page_token={second['next_page_token']}&view=BASIC")
    assert [task["id"] for task in second["tasks"] + third["tasks"]] == made[2::-1]
    assert "next_page_token" not in third


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("tag_key=foo&tag_value=bar", ["bar", "both"]),
        ("tag_key=foo", ["bar", "bat", "empty", "both"]),
        ("tag_key=foo&tag_value=", ["bar", "bat", "empty", "both"]),
        ("tag_key=foo&tag_value=bar&tag_key=baz&tag_value=bat", ["both"]),
        ("tag_key=foo&tag_key=baz&tag_value=bar", ["both"]),
        ("tag_key=qux", []),
        ("name_prefix=b", ["bar", "bat", "both"]),
        ("name_prefix=.", []),
        ("name_prefix=b%25", []),
        ("name_prefix=b_", []),
        ("name_prefix=B", []),
        ("name_prefix=ba&tag_key=foo&tag_value=bat", ["bat"]),
        ("state=QUEUED&name_prefix=none", ["none"]),
        ("state=RUNNING", []),
        ("state=UNKNOWN", []),
        ("state=&name_prefix=&page_token=&unknown=1", ["bar", "bat", "empty", "both", "none"]),
    ],
)
async def test_filters(client: httpx.AsyncClient, query: str, matches: list[str]) -> None:
    tags = {
        "bar": {"foo": "bar"},
        "bat": {"foo": "bat"},
        "empty": {"foo": ""},
        "both": {"foo": "bar", "baz": "bat"},
        "none": {},
    }
    names = {await create(client, name=name, tags=of_name): name for name, of_name in tags.items()}
    for view in ("MINIMAL", "BASIC"):
        assert [names[task_id] for task_id in await ids(client, f"{query}&view={view}")] == matches[::-1]


async def test_on_v1_filters_agree_with_what_is_shown(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    await start(store, task_id)
    await client.post(f"{TES}/tasks/{task_id}:cancel")
    assert await ids(client, "state=CANCELED", V1) == [task_id]
    assert await ids(client, "state=CANCELING", V1) == []
    assert await ids(client, "state=CANCELED", TES) == []
    assert await ids(client, "state=CANCELING", TES) == [task_id]
    assert (await listed(client, "view=BASIC", V1))["tasks"][0]["state"] == "CANCELED"


async def test_full_lists_show_the_ends_of_outputs(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    await finish(store, await start(store, task_id), b"hello")
    [task] = (await listed(client, "view=FULL"))["tasks"]
    assert task["logs"][0]["logs"][0]["stdout"] == "hello"
    [task] = (await listed(client, "view=BASIC"))["tasks"]
    assert "stdout" not in task["logs"][0]["logs"][0]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=0", "page_size"),
        ("page_size=2048", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=ten", "page_size"),
        ("page_size=1e2", "page_size"),
        ("page_size=%D9%A3", "page_size"),
        ("page_size=" + "9" * 5000, "page_size"),
        ("view=ALL", "view"),
        ("state=DONE", "state"),
        ("tag_value=a", "tag_value"),
        ("tag_key=a&tag_value=b&tag_value=c", "tag_value"),
        ("tag_key=%00", "tag_key"),
        ("name_prefix=%00", "name_prefix"),
        ("page_token=forged", "page_token"),
        ("page_token=%C3%BC", "page_token"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    await create(client)
    answer = await client.get(f"{TES}/tasks?{query}")
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["faults"]] == [field]


async def test_all_bad_parameters_are_named_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{TES}/tasks?page_size=0&view=x&state=y&tag_value=z")
    fields = {fault["field"] for fault in answer.json()["faults"]}
    assert fields == {"page_size", "view", "state", "tag_value"}
    assert "MINIMAL, BASIC, FULL" in answer.json()["msg"]


@pytest.mark.parametrize("page_size", [1, 2047])
async def test_the_limits_of_the_page_size_belong_to_it(client: httpx.AsyncClient, page_size: int) -> None:
    assert await listed(client, f"page_size={page_size}") == {"tasks": []}


async def test_many_streams_share_the_room_of_an_answer(
    client: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one task as of a list: a thousand executors have two thousand tails."""
    monkeypatch.setattr(log_tails, "_ANSWER_BUDGET_BYTES", 8 * 400)
    task_id = await create(client, executors=[{"image": "a", "command": ["b"]}] * 4)
    held = await start(store, task_id)
    for executor in range(4):
        await store.append_log(held, 1, executor, "stdout", 0, b"x" * 900)
    log = {"logs": [{"exit_code": 0}] * 4}
    await store.transition(task_id, State.COMPLETE, claim=held, reason="over", changes=Changes(log=log))
    task = (await client.get(f"{TES}/tasks/{task_id}?view=FULL")).json()
    assert [len(entry["stdout"]) for entry in task["logs"][0]["logs"]] == [400] * 4
    assert (await listed(client, "view=FULL"))["tasks"] == [task]
