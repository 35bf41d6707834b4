"""A client that timed out sends its request again with the same Idempotency-Key, and gets the same task."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tesp_api.store.base import TaskQuery, TaskStore
from tests.integration.api.life import TES, V1, RingingBell, finish, start

TASK = {
    "name": "once",
    "executors": [{"image": "a", "command": ["b"]}],
    "resources": {"ram_gb": 1},
    "tags": {"a": "1", "b": "2"},
}


async def post(
    client: httpx.AsyncClient, key: str, body: Any = TASK, prefix: str = TES, **more: Any
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(f"{prefix}/tasks", content=content, headers={"Idempotency-Key": key}, **more)


async def stored(store: TaskStore) -> int:
    return len((await store.list_states(TaskQuery())).items)


@pytest.mark.parametrize("again_at", [TES, V1])
@pytest.mark.parametrize("first_at", [TES, V1])
async def test_the_same_key_is_the_same_task(
    client: httpx.AsyncClient, store: TaskStore, first_at: str, again_at: str
) -> None:
    first = await post(client, "k-1", prefix=first_at)
    again = await post(client, "k-1", prefix=again_at)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert await stored(store) == 1


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(TASK, indent=4).encode(),
        json.dumps(dict(reversed(TASK.items()))).encode(),
        json.dumps(TASK | {"id": "x", "state": "COMPLETE", "volumes": None, "unknown": 1}).encode(),
        json.dumps(TASK | {"resources": {"ram_gb": 1.0}}).encode(),
        json.dumps(TASK | {"tags": {"b": "2", "a": "1"}}).encode(),
        b"\xef\xbb\xbf" + json.dumps(TASK).replace("once", "\\u006fnce").encode(),
    ],
)
async def test_how_the_body_is_written_does_not_matter(
    client: httpx.AsyncClient, store: TaskStore, body: bytes
) -> None:
    first = await post(client, "k")
    assert (await post(client, "k", body)).json() == first.json()
    assert await stored(store) == 1


@pytest.mark.parametrize(
    "other", [{"name": "other"}, {"tags": {}}, {"executors": [{"image": "a", "command": ["b", ""]}]}]
)
async def test_another_task_under_the_same_key_is_409(
    client: httpx.AsyncClient, store: TaskStore, other: dict[str, Any]
) -> None:
    assert (await post(client, "k")).status_code == 200
    refused = await post(client, "k", TASK | other)
    assert refused.status_code == refused.json()["status_code"] == 409
    assert "'k'" in refused.json()["msg"]
    assert await stored(store) == 1


async def test_another_key_and_no_key_are_other_tasks(client: httpx.AsyncClient, store: TaskStore) -> None:
    await post(client, "k")
    await post(client, "K")
    for _ in range(2):
        await client.post(f"{TES}/tasks", json=TASK)
    assert await stored(store) == 4


async def test_of_requests_at_the_same_time_one_creates(
    client: httpx.AsyncClient, store: TaskStore, bell: RingingBell
) -> None:
    answers = await asyncio.gather(*(post(client, "k") for _ in range(20)))
    [task_id] = {answer.json()["id"] for answer in answers}
    assert await stored(store) == 1
    assert set(bell.rung) == {task_id}


async def test_quotes_around_a_key_do_not_matter(client: httpx.AsyncClient) -> None:
    assert (await post(client, '"k"')).json() == (await post(client, "k")).json()


async def test_the_same_key_after_the_end_is_still_the_same_task(
    client: httpx.AsyncClient, store: TaskStore
) -> None:
    task_id = (await post(client, "k")).json()["id"]
    held = await start(store, task_id)
    await finish(store, held, b"")
    await store.retire(held)
    assert (await post(client, "k")).json() == {"id": task_id}
    assert (await client.delete(f"/tesp/v1/tasks/{task_id}")).status_code == 204
    assert (await post(client, "k")).json() != {"id": task_id}


@pytest.mark.parametrize(
    "key", ["", '""', " ", "a b", "a\tb", "ü", "x" * 256, '""' + "x" * 255 + '"', "a\x7f"]
)
async def test_a_bad_key_is_400_and_nothing_is_stored(
    client: httpx.AsyncClient, store: TaskStore, key: str
) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    answer = await client.post(f"{TES}/tasks", json=TASK, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["faults"][0]["field"] == "Idempotency-Key"
    assert await stored(store) == 0


async def test_two_keys_are_400(client: httpx.AsyncClient, store: TaskStore) -> None:
    headers = [("Idempotency-Key", "a"), ("idempotency-key", "a")]
    assert (await client.post(f"{TES}/tasks", json=TASK, headers=headers)).status_code == 400
    assert await stored(store) == 0


@pytest.mark.parametrize("key", ["x" * 255, '"' + "x" * 255 + '"', "!~#$%&'()*,/:;<=>?@[]^`{|}"])
async def test_every_visible_character_and_the_full_length_are_taken(
    client: httpx.AsyncClient, key: str
) -> None:
    assert (await post(client, key)).status_code == 200


async def test_a_task_that_was_refused_leaves_its_key_free(client: httpx.AsyncClient) -> None:
    assert (await post(client, "k", {"executors": []})).status_code == 400
    assert (await post(client, "k")).status_code == 200
