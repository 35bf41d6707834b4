"""Limits of users and of all, over HTTP, with users who log in by passwords and tokens."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.api.auth.api_tokens import new_token
from tesp_api.api.auth.identity import Action
from tesp_api.api.auth.passwords import hash_password
from tesp_api.app import build_accounts, build_authenticators
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.accounts import Accounts, User
from tesp_api.store.base import TaskStore
from tesp_api.tes.times import now
from tests.integration.api.life import TES, connect, finish, start
from tests.services.oidc_issuer import OidcIssuer

TASK = {"executors": [{"image": "alpine", "command": ["true"]}]}
JSON = {"Content-Type": "application/json"}
PASSWORD = "open sesame"
ALICE, BOB, ROOT = (httpx.BasicAuth(name, PASSWORD) for name in ("alice", "bob", "root"))

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(autouse=True)
def _counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tesp_api.store.mongo_usage._FRESH_S", 0.0)
    monkeypatch.setattr("tesp_api.store.mongo_counting._COSTS", 0)


@pytest.fixture
async def accounts(settings: Settings, cheap_passwords: None) -> AsyncIterator[Accounts]:
    opened = build_accounts(settings)
    await opened.open()
    for name in ("alice", "bob", "root"):
        await opened.add_user(User(name, now(), hash_password(PASSWORD), is_admin=name == "root"))
    yield opened
    await opened.aclose()


@pytest.fixture
def served(store: TaskStore, settings: Settings, accounts: Accounts) -> Served:
    """A server with these limits, where users log in by a password or a token, or by the `modes` given."""

    @contextlib.asynccontextmanager
    async def serve(
        *modes: str, issuers: dict[str, Any] | None = None, **limits: Any
    ) -> AsyncIterator[httpx.AsyncClient]:
        table = settings.model_dump()
        table["store"]["url"] = settings.store.url.get_secret_value()
        table["limits"] = limits
        table["auth"]["modes"] = modes or ("basic", "token")
        table["issuers"] = issuers or {}
        own = Settings.model_validate(table)
        ways = build_authenticators(own, accounts)
        async with connect(build_api(store, Bell(), own, {}, authenticators=ways)) as client:
            yield client

    return serve


def check_refused(answer: httpx.Response, name: str, value: float, used: float) -> None:
    body = answer.json()
    assert answer.status_code == body["status_code"] == 429, answer.text
    assert (body["limit"]["name"], body["limit"]["value"], body["limit"]["used"]) == (name, value, used)
    assert int(answer.headers["retry-after"]) == body["limit"]["retry_after_s"] >= 1
    assert body["msg"].startswith(f"{name} is {value:g}, {used:g} ")
    assert body["msg"].endswith(f"try again in {answer.headers['retry-after']} s at the earliest")


async def test_live_tasks_of_a_user_and_of_all(served: Served, store: TaskStore) -> None:
    async with served(user={"live_tasks": 2}, all={"live_tasks": 3}) as client:
        first, _ = [await _create(client, ALICE) for _ in range(2)]
        check_refused(await _post(client, ALICE), "limits.user.live_tasks", 2, 2)
        await _create(client, BOB)
        check_refused(await _post(client, BOB), "limits.all.live_tasks", 3, 3)
        check_refused(await _post(client, ROOT), "limits.all.live_tasks", 3, 3)
        held = await start(store, first)
        await finish(store, held, b"")
        await _create(client, ALICE)


async def test_a_hundred_at_once_pass_no_limit_by_any(served: Served) -> None:
    async with served(user={"stored_tasks": 7}) as client:
        answers = await asyncio.gather(*(_post(client, ALICE) for _ in range(100)))
        assert sorted(answer.status_code for answer in answers) == [200] * 7 + [429] * 93
        assert len((await client.get(f"{TES}/tasks", auth=ALICE)).json()["tasks"]) == 7


async def test_a_bulk_counts_each_of_its_tasks(served: Served) -> None:
    async with served(user={"live_tasks": 3}) as client:
        body = {"tasks": [TASK] * 5}
        answer = await client.post("/tesp/v1/tasks:bulk", json=body, auth=ALICE)
        outcomes = answer.json()["tasks"]
        assert answer.status_code == 200
        assert sum("id" in one for one in outcomes) == 3
        errors = [one["error"] for one in outcomes if "error" in one]
        assert {(one["status_code"], one["limit"]["name"]) for one in errors} == {
            (429, "limits.user.live_tasks")
        }
        answer = await client.post("/tesp/v1/tasks:bulk", json=body, auth=ALICE)
        check_refused(answer, "limits.user.live_tasks", 3, 3)


async def test_a_repeat_is_answered_at_the_limit_too(served: Served) -> None:
    async with served(user={"live_tasks": 1}) as client:
        first = await _post(client, ALICE, key="k")
        for _ in range(3):
            again = await _post(client, ALICE, key="k")
            assert (again.status_code, again.json()) == (200, first.json())
        assert (await _post(client, ALICE, key="other")).status_code == 429


async def test_admins_and_who_need_not_log_in_have_no_limits_of_one_user(served: Served) -> None:
    async with served(user={"live_tasks": 1, "requests_per_s": 0.001, "requests_burst": 1}) as client:
        for _ in range(3):
            await _create(client, ROOT)
    async with served("none", user={"live_tasks": 1}, all={"live_tasks": 6}) as client:
        for _ in range(3):
            await _create(client, None)
        check_refused(await _post(client, None), "limits.all.live_tasks", 6, 6)


async def test_special_users_have_limits_of_their_own(served: Served) -> None:
    special = {"robots": {"users": ["alice"], "live_tasks": 2}}
    async with served(user={"live_tasks": 1}, special=special) as client:
        for _ in range(2):
            await _create(client, ALICE)
        check_refused(await _post(client, ALICE), "limits.special.robots.live_tasks", 2, 2)
        await _create(client, BOB)
        check_refused(await _post(client, BOB), "limits.user.live_tasks", 1, 1)


async def test_requests_come_in_bursts_and_then_at_a_rate(served: Served) -> None:
    async with served(user={"requests_per_s": 20, "requests_burst": 5}) as client:
        path = f"{TES}/tasks"
        await client.get(path, auth=BOB)  # logging in takes time
        assert (await client.get(path, auth=ALICE)).status_code == 200
        answers = await asyncio.gather(*(client.get(path, auth=ALICE) for _ in range(30)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= 20
        body = refused[-1].json()
        assert body["limit"]["name"] == "limits.user.requests_per_s"
        assert "of the requests_burst of 5 are used up" in body["msg"]
        assert (await client.get(path, auth=BOB)).status_code == 200
        assert (await client.get(f"{TES}/service-info")).status_code == 200
        await asyncio.sleep(int(refused[-1].headers["retry-after"]))
        assert (await client.get(path, auth=ALICE)).status_code == 200


async def test_bulks_large_bodies_and_long_lists_count_as_several(served: Served) -> None:
    for asked in ("bulk", "list", "body", "chunks"):
        async with served(user={"requests_per_s": 0.01, "requests_burst": 20}) as client:
            if asked == "bulk":
                await client.post("/tesp/v1/tasks:bulk", json={"tasks": [TASK] * 40}, auth=ALICE)
            elif asked == "list":
                for _ in range(8):
                    await client.get(f"{TES}/tasks?view=FULL", auth=ALICE)
            else:
                big = json.dumps({**TASK, "description": "x" * 280_000}).encode()
                for _ in range(10):
                    body = _in_chunks(big) if asked == "chunks" else big
                    answer = await client.post(f"{TES}/tasks", content=body, headers=JSON, auth=ALICE)
                    assert answer.status_code == 200, answer.text
            answer = await client.get(f"{TES}/tasks", auth=ALICE)
            assert answer.status_code == 429, asked


async def test_a_body_counts_as_what_comes_not_as_what_is_announced(served: Served) -> None:
    own, shared = ({"requests_per_s": 0.001, "requests_burst": burst} for burst in (20, 100))
    async with served(user=own, all=shared) as client:
        for announced in ("9" * 12, "9" * 30):
            headers = {**JSON, "Content-Length": announced}
            answer = await client.post(f"{TES}/tasks", content=b"{}", headers=headers, auth=ALICE)
            assert answer.status_code == 413
        for who in (ALICE, BOB):
            assert (await client.get(f"{TES}/tasks", auth=who)).status_code == 200
        answer = await client.post(f"{TES}/tasks", content=b"x" * 8_000_000, headers=JSON, auth=ALICE)
        assert answer.status_code == 413
        check_refused(await _post(client, ALICE), "limits.user.requests_per_s", 0.001, 34)
        assert (await client.get(f"{TES}/tasks", auth=BOB)).status_code == 200


async def test_many_costly_lists_at_once_wait_for_each_other_and_are_all_answered(served: Served) -> None:
    async with served(user={"lists_at_once": 1}, all={"lists_at_once": 1}) as client:
        await _create(client, ALICE)
        paths = [f"{TES}/tasks?view=FULL", f"{TES}/tasks?tag_key=a&tag_key=b"] * 20
        answers = await asyncio.gather(*(client.get(path, auth=ALICE) for path in paths))
        assert [answer.status_code for answer in answers] == [200] * 40
        assert [len(answer.json()["tasks"]) for answer in answers] == [1, 0] * 20


async def test_users_see_their_limits_and_use(served: Served, store: TaskStore, accounts: Accounts) -> None:
    secret, kept = new_token("alice", [Action.READ], None, "")
    await accounts.add_token(kept)
    async with served(user={"live_tasks": 5, "requests_per_s": 100}, all={"stored_tasks": 50}) as client:
        task_id = await _create(client, ALICE)
        await _create(client, BOB)
        held = await start(store, task_id)
        await finish(store, held, b"hello")
        await store.retire(held)
        path = "/tesp/v1/limits"
        token = {"Authorization": f"Bearer {secret}"}
        for answer in (await client.get(path, auth=ALICE), await client.get(path, headers=token)):
            assert answer.json() == {
                "user": {
                    "name": "alice",
                    "limits": {
                        "requests_per_s": 100,
                        "requests_burst": 1000,
                        "lists_at_once": 2,
                        "streams_at_once": 100,
                        "live_tasks": 5,
                    },
                    "used": {"live_tasks": 0, "stored_tasks": 1, "stored_log_bytes": 5},
                },
                "all": {"limits": {"lists_at_once": 3, "streams_at_once": 5000, "stored_tasks": 50}},
                "max_body_bytes": 300_000,
            }
        body = (await client.get(path, auth=ROOT)).json()
        assert body["user"]["limits"] == {}
        assert body["all"]["used"] == {"live_tasks": 1, "stored_tasks": 2, "stored_log_bytes": 5}


async def test_wrong_logins_are_limited_for_names_and_addresses(served: Served) -> None:
    path = f"{TES}/tasks"
    async with served(logins={"per_address": 6, "per_user": 3, "within_s": 3600}) as client:
        assert (await client.get(path, auth=BOB)).status_code == 200
        for number in range(3):
            assert (await client.get(path, auth=("alice", f"guess {number}"))).status_code == 401
        answer = await client.get(path, auth=("alice", "guess"))
        check_refused(answer, "limits.logins.per_user", 3, 3)
        assert int(answer.headers["retry-after"]) == 1200
        for number in range(3):
            token = f"tesp_{number:012x}_{'0' * 64}"
            answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401
        answer = await client.get(path, auth=("carol", "guess"))
        check_refused(answer, "limits.logins.per_address", 6, 6)
        assert (await client.get(path, auth=("alice", "guess 0"))).status_code == 401  # not a new one
        assert (await client.get(path, auth=BOB)).status_code == 200  # has logged in from here before


async def test_junk_tokens_lock_nobody_out_who_has_a_right_one(served: Served, accounts: Accounts) -> None:
    """At the address of a proxy, say, which all of them come from."""
    path = f"{TES}/tasks"
    token, kept = new_token("alice", list(Action), None, "")
    await accounts.add_token(kept)
    with OidcIssuer() as issuer:
        issuers = {"idp": issuer.settings()}
        async with served("token", "oidc", issuers=issuers, logins={"per_address": 4}) as client:
            for number in range(8):
                answer = await client.get(path, headers={"Authorization": f"Bearer junk {number}"})
                assert answer.status_code == (401 if number < 4 else 429)
            check_refused(answer, "limits.logins.per_address", 4, 4)
            for right in (token, issuer.token()):
                answer = await client.get(path, headers={"Authorization": f"Bearer {right}"})
                assert answer.status_code == 200, answer.text


async def test_junk_names_lock_nobody_out_who_logs_in_there_for_the_first_time(served: Served) -> None:
    """And those who send them cannot tell which of them are users'."""
    path = f"{TES}/tasks"
    async with served(logins={"per_address": 4}) as client:
        for number in range(8):
            answer = await client.get(path, auth=(f"nobody{number}", "junk"))
            assert answer.status_code == (401 if number < 4 else 429)
        wrong = [await client.get(path, auth=(name, "junk")) for name in ("bob", "nobody8")]
        for answer in wrong:
            check_refused(answer, "limits.logins.per_address", 4, 4)
        assert wrong[0].json().keys() == wrong[1].json().keys()
        assert (await client.get(path, auth=ALICE)).status_code == 200
        assert (await client.get(path, auth=ROOT)).status_code == 200


async def test_junk_tokens_lock_no_password_out(served: Served) -> None:
    path = f"{TES}/tasks"
    async with served("basic", "token", logins={"per_address": 4}) as client:
        for number in range(8):
            token = f"tesp_{number:012x}_{'0' * 64}"
            await client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert (await client.get(path, auth=ALICE)).status_code == 200


async def test_a_password_that_was_right_elsewhere_is_no_help_to_guesses(served: Served) -> None:
    """It is remembered for the address alone that it came from, and not past guesses there."""
    path = f"{TES}/tasks"
    async with served(logins={"per_address": 30, "per_user": 3, "within_s": 3600}) as client:
        assert isinstance(client._transport, httpx.ASGITransport)
        here, there = client._transport.client, ("192.0.2.7", 123)
        assert (await client.get(path, auth=ALICE)).status_code == 200
        for address in (there, here):
            client._transport.client = address
            for number in range(3):
                await client.get(path, auth=("alice", f"guess {address} {number}"))
            assert (await client.get(path, auth=ALICE)).status_code == 429


async def test_a_user_is_not_locked_out_from_another_address(served: Served) -> None:
    path = f"{TES}/tasks"
    async with served(logins={"per_address": 6, "per_user": 3, "within_s": 3600}) as client:
        for number in range(9):
            await client.get(path, auth=("alice", f"guess {number}"))
        assert (await client.get(path, auth=ALICE)).status_code == 429
        assert isinstance(client._transport, httpx.ASGITransport)
        client._transport.client = ("192.0.2.7", 123)
        assert (await client.get(path, auth=ALICE)).status_code == 200


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """Of a length that is not announced."""
    for at in range(0, len(body), 50_000):
        yield body[at : at + 50_000]


async def _post(
    client: httpx.AsyncClient, auth: httpx.BasicAuth | None, *, key: str | None = None
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(
        f"{TES}/tasks", json=TASK, auth=auth or httpx.USE_CLIENT_DEFAULT, headers=headers
    )


async def _create(client: httpx.AsyncClient, auth: httpx.BasicAuth | None) -> str:
    answer = await _post(client, auth)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])
