"""Logging in, by each way; where the credentials are kept, and where they never are."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from tesp_api.api.auth.api_tokens import new_token
from tesp_api.api.auth.identity import Action
from tesp_api.store.accounts import User
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tesp_api.tes.times import now
from tests.browser.conftest import Open
from tests.browser.test_pages import until
from tests.services.browser import Browser
from tests.services.oidc_issuer import OidcIssuer
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

pytestmark = pytest.mark.services

PASSWORD = "open sesame"


@pytest.fixture(scope="module")
def issuer() -> Iterator[OidcIssuer]:
    with OidcIssuer() as running:
        yield running


@pytest.fixture(scope="module")
def token() -> list[str]:
    """The API token of alice, once the server is there."""
    return []


@pytest.fixture(scope="module")
def guarded(issuer: OidcIssuer, token: list[str]) -> Iterator[TespServer]:
    """A server where people log in by every way."""
    table = {"idp": issuer.settings(client_id="tesp-docs")}
    environment = {
        **ONLY_BUBBLEWRAP,
        "TESP_API_AUTH__MODES": '@json ["basic", "token", "oidc"]',
        "TESP_API_ISSUERS": f"@json {json.dumps(table)}",
    }
    server = TespServer(environment)
    server.data.mkdir(mode=0o700)
    with ThreadPoolExecutor() as beside:  # a loop runs in this thread: Playwright's
        token.append(beside.submit(asyncio.run, _add_alice(server.data)).result())
    with server:
        server.client.headers["Authorization"] = f"Bearer {token[0]}"
        yield server


async def _add_alice(folder: Path) -> str:
    accounts = SqliteAccounts(folder)
    await accounts.open()
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    await accounts.add_user(User("alice", now(), hasher.hash(PASSWORD), (), False))
    text, kept = new_token("alice", Action, None, "")
    await accounts.add_token(kept)
    await accounts.aclose()
    return text


def is_in(page: Any) -> None:
    """Wait until somebody is logged in; the secret is in no address and in no lasting storage."""
    page.get_by_role("button", name="Log out").wait_for()
    page.get_by_role("heading", name="Tasks").wait_for()
    assert page.evaluate("Object.keys(localStorage).filter(key => key !== 'tesp.theme')") == []
    assert page.evaluate("document.cookie") == ""


def test_a_token_logs_in_and_what_is_live_needs_it_too(
    guarded: TespServer, token: list[str], open_page: Open, complaints: list[str]
) -> None:
    asked: list[str] = []
    page = open_page(
        "tasks", at=guarded.url + "/ui", before=lambda one: one.on("request", lambda r: asked.append(r.url))
    )
    page.get_by_role("heading", name="Log in").wait_for()
    page.get_by_label("Token").fill("tesp_wrong")
    page.get_by_role("button", name="Log in with a token").click()
    page.locator(".problem").wait_for()
    until(lambda: complaints)
    complaints.clear()  # the browser's own line about the 401
    page.get_by_label("Token").fill(token[0])
    page.get_by_role("button", name="Log in with a token").click()
    is_in(page)
    page.wait_for_selector('.live[data-status="live"]')
    task_id = guarded.create(
        {"name": "seen", "executors": [{"image": "busybox:latest", "command": ["echo", "hi"]}]}
    )
    page.locator(f'tr[data-id="{task_id}"] a').click()
    page.locator(".log", has_text="hi").wait_for()
    page.reload()
    page.locator(".log", has_text="hi").wait_for()
    with page.expect_download() as saved:
        page.locator(".log-box").get_by_role("button", name="Download").click()
    assert saved.value.path().read_text() == "hi\n"
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    assert page.evaluate("sessionStorage.length") == 0
    assert not [url for url in asked if token[0] in url]


def test_a_password_logs_in(guarded: TespServer, browser: Browser, open_page: Open) -> None:
    page = open_page("tasks", at=guarded.url + "/ui")
    assert browser.axe(page) == []
    page.get_by_label("User").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    is_in(page)
    assert page.locator(".who .name").inner_text() == "alice"


def test_an_issuer_logs_in_and_its_token_is_renewed(
    guarded: TespServer, issuer: OidcIssuer, open_page: Open
) -> None:
    issuer.expires_in_s = 10  # so little that each use renews it
    page = open_page("tasks?state=COMPLETE", at=guarded.url + "/ui")
    page.get_by_role("button", name="Log in with idp").click()
    is_in(page)
    assert page.url.endswith("/ui/tasks?state=COMPLETE")
    until(lambda: issuer.refreshed)
    assert not issuer.codes
    assert "code=" not in page.evaluate("document.referrer")


def test_an_answer_that_nobody_asked_for_logs_nobody_in(guarded: TespServer, open_page: Open) -> None:
    page = open_page("?code=stolen&state=made-up", at=guarded.url + "/ui")
    page.get_by_text("does not belong to a login of this tab").wait_for()
    assert page.url.endswith("/ui/")
    assert page.evaluate("sessionStorage.length") == 0


def test_who_is_logged_out_by_the_server_is_asked_again(
    guarded: TespServer, token: list[str], open_page: Open, complaints: list[str]
) -> None:
    page = open_page("destinations", at=guarded.url + "/ui")
    page.get_by_label("Token").fill(token[0])
    page.get_by_role("button", name="Log in with a token").click()
    page.get_by_role("heading", name="Destinations").wait_for()
    page.route(
        "**/tesp/v1/destinations",
        lambda route: route.fulfill(status=401, json={"msg": "the token has expired"}),
    )
    page.get_by_role("heading", name="Log in").wait_for()
    assert page.url.endswith("/ui/destinations")
    until(lambda: complaints)
    complaints.clear()
