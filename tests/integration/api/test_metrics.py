"""Who may read /metrics, and what it says of requests and of the store."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from tesp_api.api.application import build_api
from tesp_api.api.auth.basic import BasicAuthenticator
from tesp_api.app import build_accounts
from tesp_api.bell import Bell
from tesp_api.errors import StoreUnavailable
from tesp_api.metrics.page import Metrics
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import TES, connect, create, finish, start

TOKEN = "0123456789abcdef" * 2

Samples = dict[tuple[str, ...], float]


async def read(client: httpx.AsyncClient, **headers: str) -> dict[str, Samples]:
    """Samples by name and the values of their labels."""
    answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def app_with(store: TaskStore, settings: Settings, counting: Metrics | None = None, **tables: Any) -> FastAPI:
    changed = Settings.model_validate({"data_dir": settings.data_dir, **tables})
    authenticators = []
    if not changed.auth.is_open:
        authenticators.append(BasicAuthenticator(build_accounts(changed), changed.limits.logins))
    return build_api(store, Bell(), changed, {}, authenticators=authenticators, metrics=counting)


@pytest.fixture
async def measured(store: TaskStore, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    metrics = Metrics()
    metrics.ask(lambda: metrics.world.ask_store(store))
    async with connect(app_with(store, settings, metrics)) as client:
        yield client


async def test_where_nobody_logs_in_everybody_may_read_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"Authorization": "Basic Tm9uZTpOb25l"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"


LOGINS: dict[str, Any] = {"auth": {"modes": ["basic"]}}


@pytest.mark.parametrize("tables", [{}, LOGINS], ids=["open", "logins"])
async def test_a_token_is_asked_for(store: TaskStore, settings: Settings, tables: Any) -> None:
    async with connect(app_with(store, settings, **tables, **with_token())) as client:
        await read(client, authorization=f"Bearer {TOKEN}")
        await read(client, authorization=f"bearer  {TOKEN}")
        wrong = ("", f"Bearer {TOKEN}x", f"Bearer {TOKEN[1:]}", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer é")
        for header in wrong:
            headers = {b"Authorization": header.encode("latin-1")} if header else {}
            answer = await client.get("/metrics", headers=headers)
            assert answer.status_code == 401, header
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert "tesp_" not in answer.text and TOKEN not in answer.text
        twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")]
        assert (await client.get("/metrics", headers=twice)).status_code == 401


def with_token() -> dict[str, Any]:
    return {"metrics": {"token": TOKEN}}


async def test_the_token_opens_nothing_else(store: TaskStore, settings: Settings) -> None:
    async with connect(app_with(store, settings, **LOGINS, **with_token())) as client:
        for path in (f"{TES}/tasks", "/tesp/v1/counts", "/tesp/v1/me"):
            answer = await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 401, path


async def test_where_users_log_in_nobody_may_without_a_token(store: TaskStore, settings: Settings) -> None:
    async with connect(app_with(store, settings, **LOGINS)) as client:
        for headers in ({}, {"Authorization": "Basic YWxpY2U6eA=="}, {"Authorization": "Bearer "}):
            answer = await client.get("/metrics", headers=headers)
            assert answer.status_code == 403
            assert "metrics.token" in answer.json()["msg"]


async def test_it_can_be_switched_off(store: TaskStore, settings: Settings) -> None:
    async with connect(app_with(store, settings, metrics={"enabled": False})) as client:
        assert (await client.get("/metrics")).status_code == 404


async def test_requests_are_counted_by_their_route_and_nothing_that_clients_say(
    measured: httpx.AsyncClient,
) -> None:
    task_id = await create(measured)
    for path in (f"{TES}/tasks/{task_id}", f"{TES}/tasks/{task_id}?view=FULL", f"{TES}/tasks/nothing"):
        await measured.get(path)
    for path in ("/evil\u2603", "/a/b/c", f"{TES}/tasks/{task_id}/more"):
        await measured.get(path)
    await measured.request("BREW", f"{TES}/tasks")
    await measured.post(f"{TES}/tasks", content=b"{}")
    seen = await read(measured)
    counts = seen["tesp_http_requests_total"]
    assert counts["GET", f"{TES}/tasks/{{id}}", "200"] == 2
    assert counts["GET", f"{TES}/tasks/{{id}}", "404"] == 1
    assert counts["POST", f"{TES}/tasks", "200"] == 1
    assert counts["POST", f"{TES}/tasks", "400"] == 1
    assert counts["GET", "none", "404"] == 3
    assert counts["other", f"{TES}/tasks", "405"] == 1
    assert seen["tesp_http_request_seconds_count"]["GET", f"{TES}/tasks/{{id}}"] == 3
    assert task_id not in str(seen) and "evil" not in str(seen)


async def test_requests_below_a_path_of_a_proxy(store: TaskStore, settings: Settings) -> None:
    app = app_with(store, settings, server={"root_path": "/lab"})
    async with connect(app) as client:
        await client.get("/lab/healthz")
        await client.get("/healthz")
        counts = (await read(client))["tesp_http_requests_total"]
        assert counts["GET", "/healthz", "200"] == 2
        assert (await client.get("/lab/metrics")).status_code == 200


async def test_refusals_before_any_route(store: TaskStore, settings: Settings) -> None:
    async with connect(app_with(store, settings, **LOGINS, **with_token())) as client:
        await client.get(f"{TES}/tasks")
        counts = (await read(client, authorization=f"Bearer {TOKEN}"))["tesp_http_requests_total"]
        assert counts["GET", "none", "401"] == 1


async def test_tasks_by_state_and_the_age_of_the_queue(measured: httpx.AsyncClient, store: TaskStore) -> None:
    seen = await read(measured)
    assert seen["tesp_tasks"]["QUEUED",] == 0 and seen["tesp_oldest_queued_seconds"][()] == 0
    await finish(store, await start(store, await create(measured)), b"")
    await create(measured)

    async def counted() -> bool:  # MongoDB's counts are half a second old at most
        nonlocal seen
        seen = await read(measured)
        return seen["tesp_tasks"]["COMPLETE",] == 1 and seen["tesp_tasks"]["QUEUED",] == 1

    while not await counted():  # noqa: ASYNC110 - what is waited for is on the page
        await asyncio.sleep(0.02)
    assert 0 < seen["tesp_oldest_queued_seconds"][()] < 60
    assert seen["tesp_store_up"][()] == 1


async def test_a_store_that_is_away_is_told_of_with_all_that_is_known(
    measured: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("locked")

    monkeypatch.setattr(store, "counts", fail)
    seen = await read(measured)
    assert seen["tesp_store_up"][()] == 0
    assert "tesp_tasks" not in seen and "tesp_build_info" in seen
