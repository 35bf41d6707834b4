"""Web pages from elsewhere: only where the settings say so."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import TES, connect

PORTAL = "https://portal.example.org"
PREFLIGHT = {
    "Origin": PORTAL,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
}


def with_origins(settings: Settings, *origins: str) -> Settings:
    server = settings.server.model_copy(update={"cors_origins": origins})
    return settings.model_copy(update={"server": server})


@pytest.fixture(params=[PORTAL, "*"])
async def open_client(
    request: pytest.FixtureRequest, store: TaskStore, settings: Settings
) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(build_api(store, Bell(), with_origins(settings, request.param), {})) as client:
        yield client


async def test_off_by_default(client: httpx.AsyncClient) -> None:
    simple = await client.get(f"{TES}/service-info", headers={"Origin": PORTAL})
    preflight = await client.options(f"{TES}/tasks", headers=PREFLIGHT)
    assert preflight.status_code == 405
    for answer in (simple, preflight):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_preflight_says_what_is_allowed(open_client: httpx.AsyncClient) -> None:
    answer = await open_client.options(f"{TES}/tasks", headers=PREFLIGHT)
    assert (answer.status_code, answer.content) == (204, b"")
    headers = answer.headers
    assert headers["access-control-allow-origin"] in (PORTAL, "*")
    assert {"GET", "POST", "DELETE"} <= set(headers["access-control-allow-methods"].split(", "))
    assert {"Authorization", "Content-Type", "Idempotency-Key"} <= set(
        headers["access-control-allow-headers"].split(", ")
    )
    assert headers["access-control-max-age"] == "2592000"
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("path", [f"{TES}/tasks", f"{TES}/tasks/x", "/nothing", f"{TES}/tasks?page_size=0"])
async def test_every_answer_may_be_read_errors_too(open_client: httpx.AsyncClient, path: str) -> None:
    answer = await open_client.get(path, headers={"Origin": PORTAL})
    assert answer.headers["access-control-allow-origin"] in (PORTAL, "*")
    assert "X-Tesp-Log-Offset" in answer.headers["access-control-expose-headers"]


async def test_a_body_that_is_too_large_may_be_read_too(open_client: httpx.AsyncClient) -> None:
    answer = await open_client.post(f"{TES}/tasks", content=b" " * 300_001, headers={"Origin": PORTAL})
    assert answer.status_code == 413
    assert answer.headers["access-control-allow-origin"] in (PORTAL, "*")


async def test_requests_without_an_origin_are_answered_as_ever(open_client: httpx.AsyncClient) -> None:
    answer = await open_client.get(f"{TES}/tasks")
    assert (answer.status_code, answer.json()) == (200, {"tasks": []})


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://portal.example.org.evil.example", "null", "http://portal.example.org"],
)
async def test_other_origins_are_not_let_in(store: TaskStore, settings: Settings, origin: str) -> None:
    async with connect(build_api(store, Bell(), with_origins(settings, PORTAL), {})) as client:
        refused = await client.options(f"{TES}/tasks", headers=PREFLIGHT | {"Origin": origin})
        assert refused.status_code == refused.json()["status_code"] == 400
        assert "access-control-allow-origin" not in refused.headers
        answer = await client.get(f"{TES}/tasks", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "asked", [{"Access-Control-Request-Method": "PUT"}, {"Access-Control-Request-Headers": "x-other"}]
)
async def test_what_the_api_does_not_know_is_refused(
    open_client: httpx.AsyncClient, asked: dict[str, str]
) -> None:
    assert (await open_client.options(f"{TES}/tasks", headers=PREFLIGHT | asked)).status_code == 400
