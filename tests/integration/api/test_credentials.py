"""Logins and credentials of tasks, as clients see them: accepted, and never shown again."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.settings import DestinationSettings, Settings
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.store.base import TaskQuery, TaskStore
from tesp_api.tes.userinfo import UrlLogin
from tests.integration.api.life import TES, V1, RingingBell, connect

SECRET = "s3cr3t"
BULK, VALIDATE = "/tesp/v1/tasks:bulk", "/tesp/v1/tasks:validate"
CREDENTIALS = {
    "lab": {"url_prefix": "https://lab.example.org/", "bearer_token": SECRET},
    "alices": {"url_prefix": "https://alice.example.org/", "bearer_token": SECRET, "users": ["alice"]},
}
NAMES = "resources.backend_parameters.credentials"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return Settings.model_validate(settings.model_dump() | {"credentials": CREDENTIALS})


@pytest.fixture
async def client(store: TaskStore, bell: RingingBell, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(build_api(store, bell, settings, {}, next_destination=lambda *_: "local")) as opened:
        yield opened


def task(url: str = f"https://user:{SECRET}@host.example.org/a?v=1", **more: Any) -> dict[str, Any]:
    executors = [{"image": "a", "command": ["b"]}]
    return {"inputs": [{"url": url, "path": "/in"}], "executors": executors, **more}


def naming(names: str) -> dict[str, Any]:
    return task("https://host.example.org/a", resources={"backend_parameters": {"credentials": names}})


async def test_no_answer_shows_the_login_of_a_url(
    client: httpx.AsyncClient, store: TaskStore, settings: Settings
) -> None:
    answers = [
        await client.post(f"{TES}/tasks", json=task(), headers={"Idempotency-Key": "k"}),
        await client.post(BULK, json={"tasks": [task(), task(volumes=["x"])]}),
        await client.post(VALIDATE, json=task()),
    ]
    task_id = answers[0].json()["id"]
    for view in ("MINIMAL", "BASIC", "FULL"):
        for prefix in (TES, V1):
            answers.append(await client.get(f"{prefix}/tasks/{task_id}", params={"view": view}))
            answers.append(await client.get(f"{prefix}/tasks", params={"view": view}))
    answers.append(await client.get(f"/tesp/v1/tasks/{task_id}/history"))
    assert {answer.status_code for answer in answers} == {200}
    shown = (await client.get(f"{TES}/tasks/{task_id}", params={"view": "BASIC"})).json()
    assert shown["inputs"][0]["url"] == "https://host.example.org/a?v=1"
    assert not any(SECRET in answer.text + str(answer.headers) for answer in answers)
    stored = await store.get(task_id)
    assert SECRET not in str(stored)
    opened = Sealer(ServerKey(settings)).open(task_id, stored.sealed)
    assert opened == (UrlLogin("https://host.example.org/a?v=1", "user", SECRET),)


async def test_tasks_of_a_bulk_are_sealed_each_for_itself(
    client: httpx.AsyncClient, store: TaskStore, settings: Settings
) -> None:
    await client.post(BULK, json={"tasks": [task(), task("https://host.example.org/a"), task()]})
    stored = (await store.list_tasks(TaskQuery())).items
    opened = [Sealer(ServerKey(settings)).open(one.id, one.sealed) for one in stored]
    assert [len(logins) for logins in opened] == [1, 0, 1]


async def test_the_login_does_not_tell_requests_apart(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await client.post(f"{TES}/tasks", json=task(), headers=key)
    again = await client.post(f"{TES}/tasks", json=task("https://a:b@host.example.org/a?v=1"), headers=key)
    other = await client.post(f"{TES}/tasks", json=task("https://host.example.org/b"), headers=key)
    assert again.json() == first.json()
    assert other.status_code == 409


async def test_credentials_that_a_task_may_name(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{TES}/tasks", json=naming("lab"))
    assert answer.status_code == 200
    shown = (await client.get(f"{TES}/tasks/{answer.json()['id']}", params={"view": "FULL"})).json()
    assert shown["resources"]["backend_parameters"] == {"credentials": "lab"}


async def test_credentials_that_it_may_not_name_are_refused_everywhere(client: httpx.AsyncClient) -> None:
    said = {}
    for name in ("alices", "nobodys"):
        created = await client.post(f"{TES}/tasks", json=naming(name))
        bulk = (await client.post(BULK, json={"tasks": [naming(name)]})).json()["tasks"][0]["error"]
        report = (await client.post(VALIDATE, json=naming(name))).json()
        assert created.status_code == bulk["status_code"] == 400
        assert [created.json()["faults"], bulk["faults"]] == [report["faults"]] * 2
        [fault] = report["faults"]
        assert fault["field"] == NAMES
        said[name] = fault["message"]
    assert said["alices"].replace("alices", "nobodys") == said["nobodys"]


async def test_a_secret_for_which_there_is_no_way_is_refused(
    store: TaskStore, bell: RingingBell, settings: Settings
) -> None:
    rest = {"r": DestinationSettings(kind="rest", url="http://127.0.0.1:1")}
    closed = settings.model_copy(update={"destinations": rest})
    async with connect(build_api(store, bell, closed, {})) as client:
        for url in (f"https://u:{SECRET}@host.example.org/a", "https://lab.example.org/a"):
            answer = await client.post(f"{TES}/tasks", json=task(url))
            assert answer.status_code == 400 and SECRET not in answer.text
            [fault] = answer.json()["faults"]
            assert fault["field"] == "inputs[0].url" and "channel" in fault["message"]
        answer = await client.post(f"{TES}/tasks", json=task("https://host.example.org/a"))
        assert answer.status_code == 200
