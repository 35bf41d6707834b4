"""What AMQP alone has: several servers that share what they hear, TLS, and passwords that nothing shows."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from tesp_api.app import build_transports
from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.amqp import AmqpPulsar
from tesp_api.pulsar.base import JobState
from tesp_api.pulsar.mailbox import MemoryMailbox
from tesp_api.settings import Settings
from tests.contract.pulsar_sites import eventually
from tests.contract.tiny_worker import tiny_order
from tests.services.authority import Authority
from tests.services.link import Link
from tests.services.pulsar_amqp import AmqpStockPulsar
from tests.services.rabbitmq import PASSWORD, RabbitMQ

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Iterator[RabbitMQ]:
    with RabbitMQ(authority) as broker:
        yield broker


@pytest.fixture(scope="module")
def pulsar(broker: RabbitMQ) -> Iterator[AmqpStockPulsar]:
    with AmqpStockPulsar(broker) as pulsar:
        yield pulsar


@contextlib.asynccontextmanager
async def opened(transport: AmqpPulsar) -> AsyncIterator[AmqpPulsar]:
    await transport.open()
    try:
        yield transport
    finally:
        await transport.aclose()


@pytest.mark.usefixtures("pulsar")
async def test_servers_of_one_store_hear_for_each_other(broker: RabbitMQ) -> None:
    mailbox = MemoryMailbox()
    async with (
        opened(AmqpPulsar("one", broker.url, mailbox)) as one,
        opened(AmqpPulsar("two", broker.url, mailbox)) as two,
    ):
        job_id = f"task-{uuid4()}-1"
        await one.launch(tiny_order(job_id, files={"note": "hello"}))
        await eventually(lambda: one.read_file(job_id, "result.json"))
        for server in (one, two) * 3:  # their answers go round, to whoever listens
            assert await server.read_file(job_id, "note") == b"hello"
        states = {(await server.status(job_id)).state for server in (one, two)}
        assert len(states) == 1
        await two.clean(job_id)
        assert await one.read_file(job_id, "note") is None


async def test_a_server_that_should_be_alone_says_that_it_is_not(
    broker: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    async def connect(name: str, *, alone: bool) -> None:
        transport = AmqpPulsar(name, broker.url, MemoryMailbox(), manager="shared", alone=alone)
        await stack.enter_async_context(opened(transport))
        with contextlib.suppress(PulsarUnavailable):  # there is no Pulsar: it is the broker that counts
            await transport.check()

    async with contextlib.AsyncExitStack() as stack:
        await connect("first", alone=True)
        await connect("replica", alone=False)
        assert "another server listens" not in caplog.text
        await connect("second", alone=True)
    assert "second: another server listens" in caplog.text


@pytest.mark.usefixtures("pulsar")
async def test_a_look_at_the_broker_takes_nothing_from_those_who_listen(broker: RabbitMQ) -> None:
    settings = Settings.model_validate({"destinations": {"far": {"kind": "amqp", "url": broker.url}}})
    looking: Any = build_transports(settings)["far"]
    async with opened(looking), opened(AmqpPulsar("one", broker.url, MemoryMailbox())) as one:
        await looking.check()
        for _ in range(4):
            job_id = f"task-{uuid4()}-1"
            await one.launch(tiny_order(job_id))
            await eventually(lambda job_id=job_id: one.read_file(job_id, "result.json"))  # type: ignore[misc]
            await one.clean(job_id)


async def test_it_says_that_nobody_listens(broker: RabbitMQ) -> None:
    async with opened(AmqpPulsar("far", broker.url, MemoryMailbox(), manager="nobody")) as far:
        with pytest.raises(PulsarUnavailable, match="nobody listens"):
            await far.check()


async def test_an_order_waits_once_for_its_pulsar_and_goes_again_if_it_is_lost(
    broker: RabbitMQ, pulsar: AmqpStockPulsar
) -> None:
    order = tiny_order(f"task-{uuid4()}-1", files={"note": "hello"})
    async with opened(AmqpPulsar("far", broker.url, MemoryMailbox(), alone=True)) as far:
        assert await eventually(partial(is_there, far))
        await asyncio.to_thread(pulsar.kill)
        try:
            await far.launch(order)
            for _ in range(3):
                with pytest.raises(PulsarUnavailable, match="nobody listens"):
                    await far.launch(order)
            assert await throw_orders_away(broker) == 1
        finally:
            await asyncio.to_thread(pulsar.start)
        assert (await far.status(order.job_id)).state is JobState.UNKNOWN
        assert await far.read_file(order.job_id, "note") is None
        await far.launch(order)
        assert await eventually(lambda: far.read_file(order.job_id, "note")) == b"hello"
        await far.clean(order.job_id)


async def throw_orders_away(broker: RabbitMQ) -> int:
    """As a Pulsar does whose disk is full; how many there were."""
    async with await aio_pika.connect(broker.url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue("pulsar__setup", passive=True)
        return int((await queue.purge()).message_count or 0)


@pytest.mark.usefixtures("pulsar")
async def test_a_connection_that_is_silent_for_ever_is_replaced(broker: RabbitMQ) -> None:
    """As after a router was restarted: neither side is told that what it sends arrives nowhere."""
    with Link(broker.port) as link:
        url = broker.url.replace(f":{broker.port}/", f":{link.port}/")
        async with opened(AmqpPulsar("far", f"{url}?heartbeat=1", MemoryMailbox())) as far:
            assert await eventually(partial(is_there, far))
            link.stall()
            link.heal(forgets=True)
            assert await eventually(partial(is_there, far))


@pytest.mark.usefixtures("pulsar")
async def test_tls_needs_the_right_authority(broker: RabbitMQ, authority: Authority, tmp_path: Path) -> None:
    async with opened(AmqpPulsar("far", broker.tls_url, MemoryMailbox(), ca=authority.ca)) as far:
        await far.check()
    other = Authority(tmp_path / "other")
    for ca, why in (
        (None, "certificate"),
        (other.ca, "certificate"),
        (tmp_path / "none.pem", "No such file"),
    ):
        async with opened(AmqpPulsar("far", broker.tls_url, MemoryMailbox(), ca=ca)) as far:
            await refused(far, why)


async def test_a_password_is_shown_nowhere(broker: RabbitMQ, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tesp_api")
    wrong = broker.url.replace(PASSWORD, "hush-wrong")
    away = broker.url.replace(str(broker.port), "1").replace(PASSWORD, "hush-wrong")
    for url, why in ((wrong, "refused"), (away, "127.0.0.1:1: ")):
        async with opened(AmqpPulsar("far", url, MemoryMailbox())) as far:
            text = await refused(far, why)
        assert "hush" not in text + caplog.text


async def is_there(far: AmqpPulsar) -> bool:
    try:
        await far.check()
    except PulsarUnavailable:
        return False
    return True


async def refused(far: AmqpPulsar, why: str) -> str:
    with pytest.raises(PulsarUnavailable, match=why) as caught:
        async with asyncio.timeout(30):
            await far.check()
    assert caught.value.__cause__ is None
    return str(caught.value)
