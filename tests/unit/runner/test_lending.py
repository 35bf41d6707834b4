"""What goes with a job: a channel, signed requests, or nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import StagingRefused
from tesp_api.runner.lending import NOTHING, Lent, StorageLender
from tesp_api.settings import Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.logins import Logins
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.sealing import Sealer
from tesp_api.storage.server_key import ServerKey
from tesp_api.storage.work_orders import WorkOrders
from tesp_api.store.base import Job, Task
from tesp_api.tes.userinfo import UrlLogin
from tests.factories import make_task

CREDENTIALS = {
    "archive": {"url_prefix": "https://a.org/", "username": "ann", "password": "hush-hush"},
    "lab": {"url_prefix": "s3://lab/", "access_key_id": "AKID", "secret_access_key": "hush-key"},
}
KEY = "0123456789" * 4
PULSAR = {"kind": "rest", "url": "http://pulsar"}
BROKER = {"kind": "amqp", "url": "amqp://broker/"}
CHANNEL = {"port": 8443, "url": "https://tesp.example.org:8443"}
SOCKET = Path("/data/channel.sock")

PUBLIC = {"url": "https://b.org/x", "path": "/x"}
LOCKED = {"url": "https://a.org/x", "path": "/x"}
S3 = {"url": "s3://lab/x", "path": "/x"}


def settings(site: dict[str, Any], **more: Any) -> Settings:
    values = {"secret_key": KEY, "credentials": CREDENTIALS, "destinations": {"site": site}}
    return Settings.model_validate(values | more)


async def lend(where: Settings, *inputs: dict[str, Any], **more: Any) -> Lent:
    return await lender_of(where).lend(task(*inputs, **more), "site")


def lender_of(where: Settings) -> StorageLender:
    key = ServerKey(where)
    credentials = Credentials(where.credentials)
    logins = Logins(credentials, Sealer(key))
    return StorageLender(where, WorkOrders(key), credentials, logins, S3Signer(), socket=SOCKET)


def task(*inputs: dict[str, Any], **more: Any) -> Task:
    return replace(make_task(id="0190-task", inputs=list(inputs), **more), attempt=2)


@pytest.mark.parametrize("needs", [LOCKED, S3])
async def test_an_embedded_pulsar_reaches_the_socket(needs: dict[str, Any]) -> None:
    where = settings({}, channel=CHANNEL)
    channel = (await lend(where, PUBLIC, needs)).channel
    assert channel is not None
    assert (channel["url"], channel["ca_pem"]) == (f"unix:{SOCKET}", None)
    assert WorkOrders(ServerKey(where)).read(channel["token"]) == ("0190-task", 2)


@pytest.mark.parametrize("site", [PULSAR | {"channel_url": "http://t"}, BROKER | {"channel_url": "http://t"}])
async def test_who_reaches_the_channel_reports_there(site: dict[str, Any]) -> None:
    lent = await lend(settings(site), PUBLIC)
    assert (lent.channel, lent.lent) == (None, None)
    assert lent.report is not None and lent.report["url"] == "http://t"
    assert (await lend(settings(site), LOCKED)).report == lent.report
    unreadable = settings(site | {"channel_ca": "/none.pem"})
    assert await lend(unreadable, PUBLIC) == NOTHING, "a task that needs no channel runs without one"


async def test_behind_a_broker_the_channel_is_reached_only_where_the_destination_says_so() -> None:
    where = settings(BROKER, channel=CHANNEL)
    assert await lend(where, PUBLIC) == NOTHING
    assert (await lend(where, S3)).lent is not None


@pytest.mark.parametrize("site", [{}, PULSAR, BROKER, PULSAR | {"staging": "gateway"}])
async def test_what_needs_no_secret_gets_nothing(site: dict[str, Any]) -> None:
    where = settings(site)
    assert await lend(where) == NOTHING
    assert (
        await lend(where, PUBLIC, {**LOCKED, "content": "wins"}, {"url": "/data/x", "path": "/y"}) == NOTHING
    )


async def test_other_sites_get_a_url_and_an_authority(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("the authority\n")
    for site, url in ((PULSAR, CHANNEL["url"]), (PULSAR | {"channel_url": "https://here"}, "https://here")):
        channel = (await lend(settings(site | {"channel_ca": ca}, channel=CHANNEL), LOCKED)).channel
        assert channel is not None
        assert (channel["url"], channel["ca_pem"]) == (url, "the authority\n")


async def test_an_authority_that_cannot_be_read_ends_the_task(tmp_path: Path) -> None:
    where = settings(PULSAR | {"channel_ca": tmp_path / "none"}, channel=CHANNEL)
    with pytest.raises(StagingRefused, match=r"destinations\.site\.channel_ca.*No such file"):
        await lend(where, LOCKED)
    assert await lend(where, PUBLIC) == NOTHING


async def test_without_a_channel_s3_is_signed_beforehand() -> None:
    lent = await lend(settings(PULSAR), S3, LOCKED)
    assert lent.channel is None and lent.lent is not None
    assert "X-Amz-Signature=" in lent.lent["gets"]["s3://lab/x"]
    assert "hush" not in str(lent)
    assert await lend(settings(PULSAR), LOCKED) == NOTHING


async def test_the_gateway_asks_for_nobody() -> None:
    assert await lend(settings(PULSAR | {"staging": "gateway"}, channel=CHANNEL), S3, LOCKED) == NOTHING


async def test_logins_in_urls_are_asked_for_too() -> None:
    where = settings({})
    sealed = Sealer(ServerKey(where)).seal("0190-task", [UrlLogin("https://b.org/x", "ann", "pass")])
    assert (await lend(where, PUBLIC, sealed=sealed)).channel
    broken = settings({}, secret_key="another key, of 32 characters or more")
    assert (await lend(broken, PUBLIC, sealed=sealed)).channel, "the worker is told why it gets none"


MONGODB = {"store": {"url": "mongodb://db"}}


@pytest.mark.parametrize(
    ("site", "more", "asks"),
    [
        ({}, {}, False),
        ({}, MONGODB, True),
        ({"staging": "gateway"}, MONGODB, True),
        (PULSAR, {}, False),
        (PULSAR, {"channel": CHANNEL}, True),
        (PULSAR | {"staging": "gateway"}, {"channel": CHANNEL}, False),
        (PULSAR | {"channel_ca": "/none.pem"}, {"channel": CHANNEL}, False),
        (BROKER, {"channel": CHANNEL}, False),
        (BROKER | {"channel_url": "http://t"}, {}, True),
    ],
)
async def test_permits_are_asked_for_where_others_may_drive_and_the_channel_is_reached(
    site: dict[str, Any], more: dict[str, Any], asks: bool
) -> None:
    where = settings(site, **more)
    assert lender_of(where).gives_permits("site") is asks
    for job_asks in (False, True) if asks else (False,):
        job = Job("site", "0190-task-2", asks=job_asks)
        lent = await lender_of(where).lend(replace(task(PUBLIC), job=job), "site")
        assert (lent.permits is not None) is job_asks, "what was stored with the job counts"


async def test_what_was_said_to_ask_never_runs_without_asking() -> None:
    where = settings(PULSAR | {"channel_ca": "/none.pem"}, channel=CHANNEL)
    asking = replace(task(PUBLIC), job=Job("site", "0190-task-2", asks=True))
    with pytest.raises(StagingRefused, match="channel_ca"):
        await lender_of(where).lend(asking, "site")
