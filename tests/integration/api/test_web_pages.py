"""What web pages can do to a server of their reader: nothing that changes anything, unless they may."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.app import build_store
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tests.integration.api.life import TES

TASK = {"executors": [{"image": "alpine", "command": ["true"]}]}
PORTAL = "https://portal.example.org"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TaskStore]:
    opened = build_store(Settings.model_validate({"data_dir": str(tmp_path)}))
    await opened.open()
    yield opened
    await opened.aclose()


async def ask(
    store: TaskStore,
    method: str,
    headers: Mapping[str, str],
    came_to: str = "127.0.0.1",
    path: str = f"{TES}/tasks",
    **tables: Any,
) -> httpx.Response:
    """Send a request to a server with these settings, over a connection that came to this address."""
    settings = Settings.model_validate({"data_dir": "/nowhere", **tables})
    app = build_api(store, Bell(), settings, {}, next_destination=lambda *_: "local")
    host = f"[{came_to}]" if ":" in came_to else came_to
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8080") as client:
        return await client.request(method, path, headers=headers, json=TASK if method == "POST" else None)


ALLOWED = {
    "curl, py-tes": {},
    "the Swagger UI": {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8080"},
    "the Swagger UI of an older browser": {"Origin": "http://127.0.0.1:8080"},
    "behind a proxy that changed the host": {
        "Sec-Fetch-Site": "same-origin",
        "Origin": "https://tes.lab.org",
    },
    "typed in": {"Sec-Fetch-Site": "none"},
    "another name of loopback": {"Host": "localhost:8080", "Origin": "http://localhost:8080"},
    "a name of a container": {"Host": "tesp"},
    "an IPv6 address": {"Host": "[::1]:8080", "Origin": "http://[::1]:8080"},
    "a name below localhost": {"Host": "tesp.localhost:8080"},
    "port 80 left out": {"Host": "127.0.0.1", "Origin": "http://127.0.0.1"},
}
REFUSED = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "another port of this machine": {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
    "an older browser": {"Origin": "https://evil.example"},
    "another port, older browser": {"Origin": "http://127.0.0.1:3000"},
    "a sandboxed page": {"Origin": "null"},
    "an origin that begins alike": {"Origin": "http://127.0.0.1:8080.evil.example"},
    "no origin": {"Sec-Fetch-Site": "cross-site"},
    "no such word": {"Sec-Fetch-Site": "cross"},
    "an empty origin": {"Origin": ""},
    "both empty": {"Origin": "http://", "Host": ""},
}


@pytest.mark.parametrize("name", ALLOWED)
async def test_who_may_change_something(store: TaskStore, name: str) -> None:
    answer = await ask(store, "POST", ALLOWED[name])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("auth", [{"modes": ["none"]}, {"modes": ["none"], "open_to_network": True}])
@pytest.mark.parametrize("name", REFUSED)
async def test_who_may_not(store: TaskStore, name: str, auth: dict[str, Any]) -> None:
    answer = await ask(store, "POST", REFUSED[name], auth=auth)
    assert answer.status_code == 403
    assert "server.cors_origins" in answer.json()["msg"]
    for path in ("/tesp/v1/tasks:bulk", f"{TES}/tasks/x:cancel", "/tesp/v1/tasks:validate", "/v1/tasks"):
        assert (await ask(store, "POST", REFUSED[name], path=path)).status_code == 403
    assert (await ask(store, "DELETE", REFUSED[name], path="/tesp/v1/tasks/x")).status_code == 403


async def test_a_password_that_the_browser_adds_is_no_way_around(store: TaskStore) -> None:
    answer = await ask(store, "POST", REFUSED["another site"], auth={"modes": ["basic"]})
    assert answer.status_code == 403


async def test_a_link_to_the_server_may_be_followed(store: TaskStore) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await ask(store, "GET", headers, path="/docs")).status_code == 200


@pytest.mark.parametrize("origins", [[PORTAL], ["*"]])
async def test_pages_that_the_settings_name_may(store: TaskStore, origins: list[str]) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": PORTAL}
    answer = await ask(store, "POST", headers, server={"cors_origins": origins})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, True)
    other = headers | {"Origin": "https://evil.example"}
    status = (await ask(store, "POST", other, server={"cors_origins": origins})).status_code
    assert status == (200 if origins == ["*"] else 403)


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "evil.example", "127.0.0.1.evil.example", "EVIL.example."]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_name_that_was_bent_to_this_machine_reaches_nothing(
    store: TaskStore, host: str, method: str
) -> None:
    answer = await ask(store, method, {"Host": host, "Origin": f"http://{host}"})
    assert answer.status_code == 403
    assert "auth.hosts" in answer.json()["msg"]


async def test_a_name_that_the_settings_know_reaches_all(store: TaskStore) -> None:
    headers = {"Host": "TESP.lab.example.org:8080"}
    auth = {"hosts": ["tesp.lab.example.org"]}
    assert (await ask(store, "POST", headers, auth=auth)).status_code == 200


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"])
async def test_the_network_is_not_served_without_a_login(store: TaskStore, address: str) -> None:
    answer = await ask(store, "GET", {}, came_to=address)
    assert answer.status_code == 403
    assert "auth.open_to_network" in answer.json()["msg"]
    assert (await ask(store, "GET", {}, came_to=address, path="/healthz")).status_code == 403
    opened = {"open_to_network": True}
    assert (await ask(store, "GET", {}, came_to=address, auth=opened)).status_code == 200
    assert (await ask(store, "GET", {}, came_to=address, auth={"modes": ["basic"]})).status_code == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_is(store: TaskStore, address: str) -> None:
    assert (await ask(store, "GET", {}, came_to=address)).status_code == 200
