"""Behind a proxy that adds a path: it may leave it in place or strip it."""

import re
from collections.abc import AsyncIterator
from urllib.parse import urljoin

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import TES, V1, connect, create

ROOT = "/lab/tes"


@pytest.fixture
async def client(store: TaskStore, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    server = settings.server.model_copy(update={"root_path": ROOT})
    behind = settings.model_copy(update={"server": server})
    async with connect(build_api(store, Bell(), behind, {})) as opened:
        yield opened


@pytest.fixture(params=[ROOT, ""], ids=["left in place", "stripped"])
def seen(request: pytest.FixtureRequest) -> str:
    """What the server sees of the proxy's path."""
    return str(request.param)


@pytest.mark.parametrize("prefix", [TES, V1])
async def test_tasks(client: httpx.AsyncClient, seen: str, prefix: str) -> None:
    task_id = await create(client, seen + prefix)
    assert (await client.get(f"{seen}{prefix}/tasks/{task_id}")).json()["state"] == "QUEUED"
    assert (await client.post(f"{seen}{prefix}/tasks/{task_id}:cancel")).status_code == 200
    assert (await client.delete(f"{seen}/tesp/v1/tasks/{task_id}")).status_code == 409
    assert (await client.get(f"{seen}/nothing")).json()["msg"] == f"Not Found: GET {ROOT}/nothing"


async def test_redirects_lead_back_through_the_proxy(client: httpx.AsyncClient, seen: str) -> None:
    for path, target in ((f"{seen}/", f"{ROOT}/ui/"), (f"{seen}{TES}/tasks/", f"{ROOT}{TES}/tasks")):
        answer = await client.get(path)
        assert answer.status_code == 307
        assert httpx.URL(urljoin(f"http://tesp{ROOT}/", answer.headers["location"])).path == target


async def test_the_bare_path_leads_to_the_dashboard(client: httpx.AsyncClient) -> None:
    answer = await client.get(ROOT, follow_redirects=True)
    assert answer.status_code == 200
    assert answer.url.path == f"{ROOT}/ui/"


async def test_the_page_finds_its_files(client: httpx.AsyncClient, seen: str) -> None:
    page = (await client.get(f"{seen}/docs")).text
    links = [*re.findall(r'(?:src|href)="([^"]+)"', page), *re.findall(r'url: "([^"]+)"', page)]
    assert len(links) == 4
    for link in links:
        # the browser asks below the proxy's path; the proxy may strip it
        asked = urljoin(f"{ROOT}/docs", link)
        answer = await client.get(seen + asked.removeprefix(ROOT))
        assert (answer.status_code, len(answer.content) > 500) == (200, True)


async def test_what_the_server_says_of_itself_follows(client: httpx.AsyncClient, seen: str) -> None:
    document = (await client.get(f"{seen}/openapi.json")).json()
    assert document["servers"] == [{"url": ROOT}]
    described = (await client.get(f"{seen}{TES}/service-info")).json()["description"]
    assert f"POST {ROOT}/tesp/v1/tasks:bulk" in described


async def test_a_path_that_only_begins_alike_is_another(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{ROOT}x{TES}/tasks")
    assert answer.status_code == 404
    assert answer.json()["msg"].endswith(f" {ROOT}{ROOT}x{TES}/tasks")
