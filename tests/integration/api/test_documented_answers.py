"""What the API really answers is what the OpenAPI document says that it answers."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from starlette.routing import Route

from tesp_api.api.application import build_api
from tesp_api.api.openapi import openapi_document
from tesp_api.bell import Bell
from tesp_api.errors import PulsarUnavailable, StoreUnavailable
from tesp_api.settings import Settings
from tesp_api.settings_limits import LimitSettings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import EVENTS, TES, V1, connect, create, finish, lines_of, start

DOCUMENT = openapi_document("0")
NOT_FOR_CLIENTS = {
    (path, "get")
    for path in (
        *("/", "/docs", "/docs/oauth2-redirect", "/openapi.json"),
        *("/ui", "/ui/{address}", "/ui/assets/{version}/{name}"),
    )
}

RICH: dict[str, Any] = {
    "name": "rich",
    "description": "has every field",
    "inputs": [{"name": "i", "description": "d", "path": "/i", "content": "x", "streamable": False}],
    "outputs": [{"path": "/o/*.txt", "path_prefix": "/o", "url": "file:///data/o"}],
    "resources": {
        "cpu_cores": 0,
        "ram_gb": 0,
        "disk_gb": 1.5,
        "preemptible": False,
        "zones": ["here"],
        "backend_parameters": {"VmSize": "big"},
        "backend_parameters_strict": False,
    },
    "executors": [{"image": "alpine", "command": ["true"], "env": {"A": ""}, "ignore_error": True}],
    "volumes": ["/work"],
    "tags": {"project": "x"},
}


def documented(method: str, path: str, status: int) -> Any:
    """The response that the document has for an answer; fails if it has none."""
    paths = sorted(DOCUMENT["paths"].items(), key=lambda item: str(item[0]).count("{"))  # plain ones first
    for template, operations in paths:
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            responses = operations[method.lower()]["responses"]
            assert str(status) in responses, f"{method} {template} answers an undocumented {status}"
            response = responses[str(status)]
            name = response.get("$ref", "").rpartition("/")[2]
            return DOCUMENT["components"]["responses"][name] if name else response
    raise AssertionError(f"{method} {path} is not documented")


def check(answer: httpx.Response, status: int) -> Any:
    """The answer's JSON, after a look at whether the document describes it."""
    assert answer.status_code == status, answer.text
    response = documented(answer.request.method, answer.request.url.path, status)
    assert {name.lower() for name in response.get("headers", {})} <= set(answer.headers)
    if status == 204:
        assert "content" not in response
        return None
    content = answer.headers["content-type"].partition(";")[0]
    assert content in response["content"]
    if content != "application/json":
        return None
    schema = response["content"][content]["schema"] | {"components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(answer.json())
    return answer.json()


def test_the_document_names_every_route_and_no_other(app: FastAPI) -> None:
    served = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    shown = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert served - NOT_FOR_CLIENTS == shown


@pytest.mark.parametrize("prefix", [TES, V1])
@pytest.mark.parametrize("view", ["", "MINIMAL", "BASIC", "FULL"])
async def test_tasks_in_every_view(
    client: httpx.AsyncClient, store: TaskStore, prefix: str, view: str
) -> None:
    ended, waiting = await create(client, prefix, **RICH), await create(client, prefix)
    await finish(store, await start(store, ended), b"out", b"err")
    for task_id in (ended, waiting):
        task = check(await client.get(f"{prefix}/tasks/{task_id}", params={"view": view}), 200)
        assert ("executors" in task) == (view in ("BASIC", "FULL"))
    page = check(await client.get(f"{prefix}/tasks", params={"view": view, "page_size": 1}), 200)
    assert page["next_page_token"]


@pytest.mark.parametrize("prefix", [TES, V1])
async def test_the_other_answers_of_the_standard(client: httpx.AsyncClient, prefix: str) -> None:
    task_id = check(await client.post(f"{prefix}/tasks", json=RICH), 200)["id"]
    check(await client.post(f"{prefix}/tasks/{task_id}:cancel"), 200)
    check(await client.get(f"{prefix}/service-info"), 200)


async def test_the_service_info_of_old_clients(client: httpx.AsyncClient) -> None:
    check(await client.get(f"{V1}/tasks/service-info"), 200)


async def test_extensions(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    check(await client.get(f"/tesp/v1/tasks/{task_id}/history"), 200)
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "events", 0, lines_of(EVENTS))
    await finish(store, held, b"out")
    check(await client.get(f"/tesp/v1/tasks/{task_id}/history"), 200)
    log = f"/tesp/v1/tasks/{task_id}/logs/0/stdout"
    check(await client.get(log), 200)
    check(await client.get(f"{log}?limit=0"), 400)
    check(await client.get(f"{log}?offset=99"), 416)
    events = f"/tesp/v1/tasks/{task_id}/events"
    assert len(check(await client.get(events), 200)["events"]) == len(EVENTS)
    check(await client.get(f"{events}?after=x"), 400)
    files = f"/tesp/v1/tasks/{task_id}/files"
    assert check(await client.get(files), 200)["files"] == []
    line = {"direction": "input", "path": "/a", "size_bytes": 1}
    await store.append_log(held, 1, 0, "files", 0, lines_of([line] * 9000))
    page = check(await client.get(files), 200)
    assert page["files"][0] == line and page["next_page_token"]
    check(await client.get(f"{files}?page_token=x"), 400)


async def test_extensions_that_create_and_delete(client: httpx.AsyncClient, store: TaskStore) -> None:
    answer = check(await client.post("/tesp/v1/tasks:bulk", json={"tasks": [RICH, {}]}), 200)
    task_id = answer["tasks"][0]["id"]
    check(await client.post("/tesp/v1/tasks:validate", json=RICH), 200)
    check(await client.post("/tesp/v1/tasks:validate", json={}), 200)
    check(await client.delete(f"/tesp/v1/tasks/{task_id}"), 409)
    held = await start(store, task_id)
    await finish(store, held, b"out")
    await store.retire(held)
    check(await client.delete(f"/tesp/v1/tasks/{task_id}"), 204)
    check(await client.delete(f"/tesp/v1/tasks/{task_id}"), 404)


async def test_a_key_that_belongs_to_another_task(client: httpx.AsyncClient) -> None:
    for body, status in ((RICH, 200), (RICH, 200), (RICH | {"name": "other"}, 409)):
        check(await client.post(f"{TES}/tasks", json=body, headers={"Idempotency-Key": "k"}), status)


async def test_health(client: httpx.AsyncClient, store: TaskStore, settings: Settings) -> None:
    async def unavailable() -> None:
        raise PulsarUnavailable("Pulsar does not answer")

    check(await client.get("/healthz"), 200)
    check(await client.get("/readyz"), 200)
    app = build_api(store, Bell(), settings, {"pulsar local": unavailable})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tesp") as other:
        check(await other.get("/readyz"), 503)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{TES}/tasks", b"{}", 400),
        ("POST", f"{V1}/tasks", b"no JSON", 400),
        ("POST", f"{TES}/tasks", b" " * 300_001, 413),
        ("GET", f"{TES}/tasks?page_size=0&view=x", b"", 400),
        ("GET", f"{TES}/tasks/x?view=x", b"", 400),
        ("GET", f"{TES}/tasks/x", b"", 404),
        ("POST", f"{V1}/tasks/x:cancel", b"", 404),
        ("GET", "/tesp/v1/tasks/x/history", b"", 404),
        ("GET", "/tesp/v1/tasks/x/events", b"", 404),
        ("GET", "/tesp/v1/tasks/x/files", b"", 404),
        ("GET", "/tesp/v1/tasks/x/logs/0/stdout", b"", 404),
    ],
)
async def test_refusals(client: httpx.AsyncClient, method: str, path: str, body: bytes, status: int) -> None:
    error = check(await client.request(method, path, content=body), status)
    assert bool(error.get("faults")) == (status == 400)


async def test_limits(store: TaskStore, settings: Settings) -> None:
    full = {"live_tasks": 1, "stored_tasks": 9, "stored_log_bytes": 9, "requests_per_s": 1e-3}
    limits = LimitSettings.model_validate({"all": {**full, "requests_burst": 5}})
    app = build_api(store, Bell(), settings.model_copy(update={"limits": limits}), {})
    async with connect(app) as client:
        check(await client.post(f"{TES}/tasks", json=RICH), 200)
        error = check(await client.post(f"{TES}/tasks", json=RICH), 429)
        assert error["limit"]["name"] == "limits.all.live_tasks"
        outcomes = await client.post("/tesp/v1/tasks:bulk", json={"tasks": [RICH, RICH]})
        assert check(outcomes, 429)["limit"]["used"] == 1
        shown = check(await client.get("/tesp/v1/limits"), 200)
        assert shown["user"]["used"]["live_tasks"] == shown["all"]["used"]["live_tasks"] == 1
        for path in (f"{TES}/tasks", f"{TES}/tasks/x", "/tesp/v1/limits", "/tesp/v1/tasks/x/history"):
            check(await client.get(path), 429)


async def test_a_store_that_does_not_answer(
    client: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("locked")

    for method in ("get", "get_state", "create", "list_states", "list_tasks", "request_cancel", "delete"):
        monkeypatch.setattr(store, method, fail)
    task, full = f"{TES}/tasks/x", "?view=FULL"
    for path in (f"{TES}/tasks", f"{TES}/tasks{full}", task, f"{task}{full}", "/tesp/v1/tasks/x/history"):
        check(await client.get(path), 503)
    check(await client.post(f"{TES}/tasks", json=RICH), 503)
    check(await client.post(f"{TES}/tasks/x:cancel"), 503)
    check(await client.delete("/tesp/v1/tasks/x"), 503)
    check(await client.post("/tesp/v1/tasks:bulk", json={"tasks": [RICH, {}]}), 503)
