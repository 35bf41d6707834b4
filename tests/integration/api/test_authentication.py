"""Logging in: who must, how, and what those get who do not."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tesp_api.api.application import build_api
from tesp_api.api.auth.api_tokens import TokenAuthenticator, new_token
from tesp_api.api.auth.identity import Action
from tesp_api.api.auth.passwords import hash_password
from tesp_api.app import build_accounts, build_authenticators, build_store
from tesp_api.bell import Bell
from tesp_api.errors import StoreUnavailable
from tesp_api.settings import Settings
from tesp_api.store.accounts import Accounts, User
from tesp_api.tes.times import now
from tests.integration.api.life import TES, connect, create

PASSWORD = "open sesame"
KEEP_S = 0.2
PUBLIC = [
    *(f"{TES}/service-info", "/v1/service-info", "/v1/tasks/service-info", "/healthz", "/readyz"),
    *("/", "/docs", "/openapi.json", "/docs/files/swagger-ui.css", "/ui", "/ui/", "/ui/tasks/x"),
]
GUARDED = [
    *(("GET", f"{TES}/tasks"), ("POST", f"{TES}/tasks"), ("GET", f"{TES}/tasks/x"), ("GET", "/v1/tasks/x")),
    *(
        ("POST", f"{TES}/tasks/x:cancel"),
        ("POST", "/tesp/v1/tasks:bulk"),
        ("POST", "/tesp/v1/tasks:validate"),
    ),
    *(
        ("DELETE", "/tesp/v1/tasks/x"),
        ("GET", "/tesp/v1/tasks/x/history"),
        ("GET", "/tesp/v1/tasks/x/events"),
    ),
    *(("GET", "/tesp/v1/tasks/x/logs/0/stdout"), ("GET", "/nothing"), ("OPTIONS", f"{TES}/tasks")),
    *(("GET", "/docs/files/"), ("GET", "//healthz"), ("GET", "/healthz/"), ("GET", "/HEALTHZ")),
    *(("GET", "//ui/"), ("GET", "/uix"), ("GET", "/UI/"), ("GET", "/docs/ui/")),
    ("GET", f"{TES}/tasks/service-info"),
]


@dataclass(frozen=True)
class Guarded:
    """A server that asks for a login, and its accounts."""

    app: FastAPI
    accounts: Accounts
    token: str
    token_id: str


@pytest.fixture
async def guarded(tmp_path: Path, cheap_passwords: None) -> AsyncIterator[Guarded]:
    auth = {"modes": ["basic", "token"], "revoked_within_s": KEEP_S}
    settings = Settings.model_validate({"data_dir": str(tmp_path), "auth": auth})
    store, accounts = build_store(settings), build_accounts(settings)
    await store.open()
    await accounts.open()
    await accounts.add_user(User("alice", now(), hash_password(PASSWORD)))
    token, kept = new_token("alice", Action, None, "")
    await accounts.add_token(kept)
    app = build_api(store, Bell(), settings, {}, authenticators=build_authenticators(settings, accounts))
    yield Guarded(app, accounts, token, kept.id)
    await accounts.aclose()
    await store.aclose()


@pytest.fixture
async def client(guarded: Guarded) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(guarded.app) as opened:
        yield opened


@pytest.mark.parametrize("path", PUBLIC)
async def test_what_is_public_needs_no_login(client: httpx.AsyncClient, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = await client.get(path, headers=headers)
        assert answer.status_code in (200, 307), answer.text


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_all_else_does(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.send(client.build_request(method, httpx.URL(f"http://tesp{path}")))
    assert answer.status_code == 401
    assert answer.json()["status_code"] == 401
    assert "log in" in answer.json()["msg"]
    assert answer.headers.get_list("www-authenticate") == [
        'Bearer realm="TESP"',
        'Basic realm="TESP", charset="UTF-8"',
    ]


async def test_a_password_and_a_token_open(client: httpx.AsyncClient, guarded: Guarded) -> None:
    assert (await client.get(f"{TES}/tasks", auth=("alice", PASSWORD))).status_code == 200
    for scheme in ("Bearer", "bearer", "BEARER "):
        headers = {"Authorization": f"{scheme} {guarded.token}"}
        assert (await client.get(f"{TES}/tasks", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer tesp_000000000000_" + "0" * 64,
        "Basic " + base64.b64encode(b"alice:wrong").decode(),
        "Basic None:None",
        "Digest username=alice",
        "Bearer",
        "",
        "\xff\xfe",
        "Bearer " + "x" * 60_000,
    ],
)
async def test_what_is_wrong_is_refused(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get(f"{TES}/tasks", headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401, answer.text
    assert answer.headers.get_list("www-authenticate")[0].endswith('error="invalid_token"')
    assert len(answer.text) < 300


async def test_two_credentials_are_refused(client: httpx.AsyncClient, guarded: Guarded) -> None:
    both = [("Authorization", f"Bearer {guarded.token}"), ("Authorization", "Bearer x")]
    assert (await client.get(f"{TES}/tasks", headers=both)).status_code == 401


async def test_what_is_withdrawn_ends_within_the_time(client: httpx.AsyncClient, guarded: Guarded) -> None:
    by_token = {"Authorization": f"Bearer {guarded.token}"}
    assert (await client.get(f"{TES}/tasks", headers=by_token)).status_code == 200
    assert (await client.get(f"{TES}/tasks", auth=("alice", PASSWORD))).status_code == 200
    await guarded.accounts.remove_token(guarded.token_id)
    await guarded.accounts.change_user("alice", password_hash=hash_password("abracadabra"))
    began = now()
    while (await client.get(f"{TES}/tasks", headers=by_token)).status_code == 200:
        assert (now() - began).total_seconds() < KEEP_S + 5
    while (await client.get(f"{TES}/tasks", auth=("alice", PASSWORD))).status_code == 200:
        assert (now() - began).total_seconds() < KEEP_S + 5
    assert (await client.get(f"{TES}/tasks", auth=("alice", "abracadabra"))).status_code == 200


async def test_a_store_that_is_away_is_503_and_no_way_in(client: httpx.AsyncClient, guarded: Guarded) -> None:
    await guarded.accounts.aclose()
    answer = await client.get(f"{TES}/tasks", headers={"Authorization": f"Bearer {guarded.token}"})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_an_open_server_does_not_look_at_credentials(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": str(tmp_path)})
    store = build_store(settings)
    await store.open()
    async with connect(build_api(store, Bell(), settings, {})) as client:
        client.headers["Authorization"] = "Basic " + base64.b64encode(b"None:None").decode()
        task_id = await create(client)
        client.headers["Authorization"] = "nonsense"
        assert (await client.get(f"{TES}/tasks/{task_id}")).status_code == 200
    await store.aclose()


async def test_behind_a_proxy_that_adds_a_path(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"data_dir": str(tmp_path), "auth": {"modes": ["token"]}, "server": {"root_path": "/lab"}}
    )
    store, accounts = build_store(settings), build_accounts(settings)
    await store.open()
    await accounts.open()
    authenticators = build_authenticators(settings, accounts)
    async with connect(build_api(store, Bell(), settings, {}, authenticators=authenticators)) as client:
        for prefix in ("", "/lab"):
            assert (await client.get(f"{prefix}/healthz")).status_code == 200
            assert (await client.get(f"{prefix}/docs")).status_code == 200
            assert (await client.get(f"{prefix}{TES}/service-info")).status_code == 200
            assert (await client.get(f"{prefix}{TES}/tasks")).status_code == 401
        assert (await client.get("/lab")).status_code in (200, 307)
    await accounts.aclose()
    await store.aclose()


async def test_what_does_not_work_is_told_to_everybody_but_not_why(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise StoreUnavailable("mongodb at 10.1.2.3 is away")

    settings = Settings.model_validate({"data_dir": str(tmp_path)})
    ways = [TokenAuthenticator(guarded.accounts)]
    app = build_api(build_store(settings), Bell(), settings, {"pulsar": fail}, authenticators=ways)
    async with connect(app) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["pulsar"]["ok"] is False
    assert "10.1.2.3" not in answer.text and "10.1.2.3" in caplog.text
