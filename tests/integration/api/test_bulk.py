"""Many tasks in one request: each is answered on its own."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tesp_api.errors import StoreUnavailable
from tesp_api.store.base import OnceKey, Task, TaskQuery, TaskStore
from tesp_api.store.outbox import Watch
from tesp_api.store.usage import Cap
from tests.integration.api.life import TES, RingingBell

BULK = "/tesp/v1/tasks:bulk"


def task(**parts: Any) -> dict[str, Any]:
    return {"executors": [{"image": "a", "command": ["b"]}]} | parts


async def post(client: httpx.AsyncClient, *tasks: Any, key: str | None = None) -> list[dict[str, Any]]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await client.post(BULK, json={"tasks": tasks}, headers=headers)
    assert answer.status_code == 200, answer.text
    outcomes: list[dict[str, Any]] = answer.json()["tasks"]
    assert [outcome["index"] for outcome in outcomes] == list(range(len(tasks)))
    return outcomes


async def names(client: httpx.AsyncClient) -> list[str]:
    page = (await client.get(f"{TES}/tasks?view=BASIC&page_size=2047")).json()
    return [one["name"] for one in page["tasks"]]


async def test_a_thousand_tasks_are_stored_in_their_order(
    client: httpx.AsyncClient, bell: RingingBell
) -> None:
    outcomes = await post(client, *(task(name=f"t{number}") for number in range(1000)))
    ids = [outcome["id"] for outcome in outcomes]
    assert ids == sorted(set(ids))
    assert await names(client) == [f"t{number}" for number in reversed(range(1000))]
    assert sorted(bell.rung) == ids


async def test_more_than_a_thousand_are_refused_and_none_is_stored(client: httpx.AsyncClient) -> None:
    answer = await client.post(BULK, json={"tasks": [task()] * 1001})
    assert answer.status_code == 400
    assert answer.json()["faults"] == [{"field": "tasks", "message": "has 1001 tasks: at most 1000"}]
    assert await names(client) == []


@pytest.mark.parametrize("body", [[], {}, {"tasks": []}, {"tasks": {}}, {"tasks": None}, None, "x", 1])
async def test_what_is_no_list_of_tasks_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    answer = await client.post(BULK, content=json.dumps(body))
    assert answer.status_code == 400
    assert answer.json()["faults"][0]["field"] == "tasks"


async def test_one_bad_task_does_not_harm_the_others(client: httpx.AsyncClient) -> None:
    bad: list[Any] = [None, [], "x", task(executors=[]), task(name=1, volumes=["x"])]
    outcomes = await post(client, task(name="first"), *bad, task(name="last"))
    assert [("id" in outcome, "error" in outcome) for outcome in outcomes] == [
        (True, False),
        *[(False, True)] * 5,
        (True, False),
    ]
    assert {outcome["error"]["status_code"] for outcome in outcomes[1:-1]} == {400}
    assert {fault["field"] for fault in outcomes[5]["error"]["faults"]} == {"name", "volumes[0]"}
    assert await names(client) == ["last", "first"]


async def test_all_bad_is_still_an_answer_for_each(client: httpx.AsyncClient) -> None:
    outcomes = await post(client, {}, {})
    assert all(outcome["error"]["faults"] for outcome in outcomes)


async def test_with_a_key_each_task_is_stored_once_by_its_place(client: httpx.AsyncClient) -> None:
    first = await post(client, task(name="a"), {}, task(name="c"), key="k")
    again = await post(client, task(name="a"), task(name="b"), task(name="other"), key="k")
    assert again[0] == first[0]
    assert "id" in again[1]
    assert again[2]["error"]["status_code"] == 409
    assert "the Idempotency-Key 'k' " in again[2]["error"]["msg"]
    assert await names(client) == ["b", "c", "a"]
    single = await client.post(f"{TES}/tasks", json=task(name="a"), headers={"Idempotency-Key": "k"})
    assert single.json()["id"] not in {first[0]["id"], first[2]["id"]}


async def test_a_bad_key_refuses_all(client: httpx.AsyncClient) -> None:
    answer = await client.post(BULK, json={"tasks": [task()]}, headers={"Idempotency-Key": "a b"})
    assert answer.status_code == 400
    assert await names(client) == []


class Failing:
    """A store's `create` that fails for some tasks."""

    def __init__(self, store: TaskStore, error: Exception, but_for: str) -> None:
        self._create = store.create
        self._error = error
        self._but_for = but_for

    async def __call__(
        self,
        one: Task,
        *,
        once: OnceKey | None = None,
        caps: Sequence[Cap] = (),
        watch: Watch | None = None,
    ) -> str:
        if one.request.get("name") == self._but_for:
            return await self._create(one, once=once)
        raise self._error


@pytest.mark.parametrize(("error", "status"), [(StoreUnavailable("locked"), 503), (OSError("secret"), 500)])
async def test_what_the_store_did_not_take_is_told_one_by_one(
    client: httpx.AsyncClient,
    store: TaskStore,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    monkeypatch.setattr(store, "create", Failing(store, error, but_for="lucky"))
    outcomes = await post(client, task(), task(name="lucky"), {})
    assert outcomes[0]["error"]["status_code"] == status
    assert "secret" not in str(outcomes)
    assert "id" in outcomes[1]
    assert outcomes[2]["error"]["status_code"] == 400


async def test_a_store_that_is_away_is_503_for_all(
    client: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "create", Failing(store, StoreUnavailable("locked"), but_for="nobody"))
    answer = await client.post(BULK, json={"tasks": [task(), {}]})
    assert answer.status_code == answer.json()["status_code"] == 503
    assert int(answer.headers["retry-after"]) > 0
    assert (await store.list_states(TaskQuery())).items == []
