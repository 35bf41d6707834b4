"""Errors of every kind have one shape and tell nothing of the inside; health; the limit of bodies."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from tesp_api.api import health
from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.errors import ClaimLost, PulsarUnavailable, StoreUnavailable, TespError
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import TES

SECRET = "mongodb://admin:secret@db"  # what an inner error may say


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/tasks/a/b", 404), ("DELETE", f"{TES}/tasks", 405)],
)
async def test_unknown_routes_have_the_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json().keys() == {"status_code", "msg"}
    assert path in answer.json()["msg"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"{TES}/tasks", "GET, HEAD, POST"),
        ("/v1/tasks", "GET, HEAD, POST"),
        (f"{TES}/tasks/x", "GET, HEAD"),
        (f"{TES}/tasks/x:cancel", "POST"),
    ],
)
async def test_a_405_names_every_method_of_the_path(
    client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    answer = await client.put(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnavailable(SECRET), 503),
        (ClaimLost(SECRET), 500),
        (TespError(SECRET), 500),
        (OSError(SECRET), 500),
    ],
)
async def test_inner_errors_are_logged_and_not_told(
    client: httpx.AsyncClient,
    store: TaskStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
) -> None:
    async def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(store, "get_state", fail)
    answer = await client.get(f"{TES}/tasks/x")
    assert answer.status_code == answer.json()["status_code"] == status
    assert SECRET not in answer.text
    assert SECRET in caplog.text
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize("path", [f"{TES}/tasks", "/v1/tasks"])
async def test_a_body_that_is_too_large_is_413(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b" " * 300_001)
    assert answer.status_code == answer.json()["status_code"] == 413
    assert (await client.post(path, content=b" " * 300_000)).status_code == 400


async def test_a_body_in_chunks_is_cut_off_as_soon_as_it_is_too_large(client: httpx.AsyncClient) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * 100_000

    answer = await client.post(f"{TES}/tasks", content=chunks())
    assert answer.status_code == 413
    assert sent == 4


async def test_alive(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_ready_when_every_part_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "parts": {"store": {"ok": True}}})


async def unavailable() -> None:
    raise PulsarUnavailable("Pulsar at http://p does not answer")


async def silent() -> None:
    await asyncio.sleep(60)


async def fine() -> None:
    return


async def test_not_ready_without_any_destination_names_each_part_that_fails(
    store: TaskStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise OSError(SECRET)

    monkeypatch.setattr(health, "_CHECK_TIMEOUT_S", 1.0)
    checks = {"pulsar a": unavailable, "pulsar b": broken, "pulsar c": silent}
    answer = await get_ready(build_api(store, Bell(), settings, checks))
    assert answer.status_code == 503
    parts = answer.json()["parts"]
    assert answer.json()["status"] == "not ready"
    assert [name for name, part in parts.items() if part["ok"]] == ["store"]
    assert parts["pulsar a"]["error"] == "Pulsar at http://p does not answer"
    assert SECRET not in answer.text
    assert "no answer" in parts["pulsar c"]["error"]


async def test_ready_although_a_destination_is_away_and_another_hangs(
    store: TaskStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(health, "_CHECK_TIMEOUT_S", 30.0)
    checks = {"pulsar a": unavailable, "pulsar b": silent, "pulsar c": fine}
    async with asyncio.timeout(10):  # what hangs does not hold up the answer
        answer = await get_ready(build_api(store, Bell(), settings, checks))
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    parts = answer.json()["parts"]
    assert [name for name, part in parts.items() if part["ok"]] == ["store", "pulsar c"]
    assert "does not answer" in parts["pulsar a"]["error"]
    assert "no answer" in parts["pulsar b"]["error"]


async def test_not_ready_without_the_store(
    store: TaskStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(store, "check", away)
    answer = await get_ready(build_api(store, Bell(), settings, {"pulsar a": fine}))
    assert answer.status_code == 503
    assert answer.json()["parts"]["pulsar a"] == {"ok": True}


async def get_ready(app: FastAPI) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tesp") as client:
        return await client.get("/readyz")
