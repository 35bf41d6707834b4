"""Tasks' own webhooks by the API, and who sees what became of them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.app import build_outbox
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.settings_webhooks import WebhookSettings
from tesp_api.store.base import TaskStore
from tesp_api.store.outbox import Outbox
from tesp_api.webhooks.deliveries import Deliveries
from tesp_api.webhooks.watches import About
from tests.factories import make_request
from tests.integration.api.life import TES, connect
from tests.integration.api.test_ownership import ByName, as_

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
OWN = {"webhook_url": "https://Hooks.example.org/secret", "webhook_secret": SECRET}
PORTAL = {"url": "http://127.0.0.1:9/portal", "secret": SECRET, "states": ["QUEUED"]}

Connect = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def request_of(parameters: dict[str, str], **more: Any) -> dict[str, Any]:
    return make_request(resources={"backend_parameters": parameters}, **more)


@pytest.fixture
def outbox(store: TaskStore, settings: Settings) -> Outbox:
    return build_outbox(settings, store)


@pytest.fixture
def connected(store: TaskStore, outbox: Outbox, settings: Settings) -> Connect:
    """A client of a server with these settings of webhooks, where users log in by their names."""

    def make(**webhooks: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        changed = settings.model_copy(update={"webhooks": WebhookSettings.model_validate(webhooks)})
        deliveries = Deliveries(outbox, store.notices, changed)
        ways = [ByName()]
        return connect(build_api(store, Bell(), changed, {}, authenticators=ways, webhooks=deliveries))

    return make


async def create_as(client: httpx.AsyncClient, sender: str, **parameters: str) -> str:
    answer = await client.post(f"{TES}/tasks", json=request_of(parameters), headers=as_(sender))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_who_sees_what(connected: Connect) -> None:
    async with connected(receivers={"portal": PORTAL}) as client:
        task_id = await create_as(client, "alice", **OWN)
        path, place = f"/tesp/v1/tasks/{task_id}/webhooks", "https://hooks.example.org"
        names = ("alice", "bob", "carol", "root")
        seen = {name: await client.get(path, headers=as_(name)) for name in names}
        assert {sender: answer.status_code for sender, answer in seen.items()} == {
            "alice": 200,
            "root": 200,
            "bob": 403,
            "carol": 404,
        }
        assert [one["to"] for one in seen["alice"].json()["webhooks"]] == [place]
        assert {one["to"] for one in seen["root"].json()["webhooks"]} == {place, "portal"}
        test = await client.post("/tesp/v1/webhooks/portal/test", headers=as_("alice"))
        assert test.status_code == 403
        assert (await client.get("/tesp/v1/webhooks", headers=as_("alice"))).status_code == 403
        shown = await client.get("/tesp/v1/webhooks", headers=as_("root"))
        (portal,) = shown.json()["receivers"]
        assert (portal["waiting"], shown.json()["waiting_of_tasks"]) == (1, 1)
        assert portal["place"] == "http://127.0.0.1:9"
        assert SECRET.removeprefix("whsec_") not in shown.text and "9/portal" not in shown.text


async def test_tasks_may_have_none_where_that_is_off(connected: Connect) -> None:
    async with connected(per_task=False) as client:
        answer = await client.post(f"{TES}/tasks", json=request_of(OWN), headers=as_("alice"))
        assert answer.status_code == 400
        (fault,) = answer.json()["faults"]
        assert fault["field"] == "resources.backend_parameters.webhook_url"
        assert "webhooks.per_task is off" in fault["message"]


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"project": "atlas", "urgent": ""}, True),
        ({"project": "atlas", "urgent": "very", "more": "x"}, True),
        ({"project": "other", "urgent": ""}, False),
        ({"project": "atlas"}, False),
        ({}, False),
    ],
)
async def test_receivers_are_told_of_what_has_their_tags(
    connected: Connect, outbox: Outbox, tags: dict[str, str], told: bool
) -> None:
    async with connected(receivers={"portal": {**PORTAL, "tags": ["project=atlas", "urgent"]}}) as client:
        document = make_request(tags=tags)
        assert (await client.post(f"{TES}/tasks", json=document, headers=as_("alice"))).status_code == 200
        assert await outbox.receivers() == (["portal"] if told else [])


async def test_what_is_long_is_cut_or_left_out(connected: Connect, outbox: Outbox) -> None:
    async with connected(receivers={"portal": PORTAL}) as client:
        document = make_request(name="n" * 5000, tags={"t": "x" * 20_000})
        await client.post(f"{TES}/tasks", json=document, headers=as_("alice"))
        await outbox.receivers()
        (notice,) = await outbox.claim("portal", limit=1, lease_s=9)
        about = About.from_json(notice.about)
        assert (len(about.name), about.tags, about.owner) == (1000, None, "alice")


async def test_a_key_with_another_webhook_is_refused(connected: Connect) -> None:
    async with connected() as client:
        headers = as_("alice") | {"Idempotency-Key": "once"}
        first, same, other = [
            await client.post(f"{TES}/tasks", json=request_of(parameters), headers=headers)
            for parameters in (OWN, OWN, OWN | {"webhook_url": OWN["webhook_url"] + "/other"})
        ]
        assert same.json() == first.json()
        assert other.status_code == 409, other.text


async def test_tasks_in_bulk_have_theirs(connected: Connect, outbox: Outbox) -> None:
    async with connected() as client:
        body = {"tasks": [request_of(OWN), make_request()]}
        assert (await client.post("/tesp/v1/tasks:bulk", json=body, headers=as_("alice"))).status_code == 200
        assert await outbox.receivers() == ["https://hooks.example.org alice"]
        assert await outbox.waiting() == {"https://hooks.example.org alice": 1}


async def test_a_receiver_that_one_server_does_not_know_loses_nothing(
    connected: Connect, outbox: Outbox, store: TaskStore, settings: Settings
) -> None:
    """As while a new receiver comes into the settings of several servers, one after the other."""
    async with connected(receivers={"portal": PORTAL}) as client:
        task_id = await create_as(client, "alice")
    other = Deliveries(outbox, store.notices, settings)
    await other.start()
    try:
        async with asyncio.timeout(20):
            while not any(line.failures for line in other.lines.values()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
    finally:
        await other.stop()
    (seen,) = await outbox.deliveries(task_id)
    assert (seen.fate, seen.said) == ("waiting", "the settings have no webhooks.receivers.portal any more")
