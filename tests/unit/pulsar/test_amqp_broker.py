"""What a lost connection does to those who wait for it: they are told, and go on."""

import asyncio

import pytest

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.amqp_broker import HEARTBEAT_S, Broker


def a_broker(url: str = "amqp://user:hush@127.0.0.1/") -> Broker:
    return Broker("far", url, None, None)


async def wait_within(broker: Broker, answer: "asyncio.Future[None]") -> None:
    async with broker._within_time():
        await answer


async def test_a_cancel_by_the_library_is_an_outage_and_no_end_of_the_task() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(wait_within(a_broker(), answer))
    await asyncio.sleep(0)
    answer.cancel()
    with pytest.raises(PulsarUnavailable, match="the connection was lost"):
        await waiting


async def test_a_cancel_of_the_task_itself_ends_it() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(wait_within(a_broker(), answer))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(("query", "wanted"), [("", str(HEARTBEAT_S)), ("?heartbeat=60", "60")])
def test_it_beats_as_often_as_the_url_says(query: str, wanted: str) -> None:
    assert a_broker(f"amqp://broker.example.org/{query}")._url.query["heartbeat"] == wanted


@pytest.mark.parametrize("failure", [Exception(), asyncio.CancelledError(), OSError("refused")])
async def test_it_tries_again_whatever_the_library_raises(
    failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    async def connect(url: object, **_: object) -> None:
        tries.append(str(url))
        raise failure

    monkeypatch.setattr("tesp_api.pulsar.amqp_broker.aio_pika.connect", connect)
    monkeypatch.setattr("tesp_api.pulsar.amqp_broker._RECONNECT_S", 0.01)
    broker = a_broker()
    await broker.open()
    try:
        async with asyncio.timeout(10):
            while len(tries) < 3:  # noqa: ASYNC110 - nothing tells of a try
                await asyncio.sleep(0.01)
    finally:
        await broker.aclose()


async def test_whatever_the_library_raises_is_an_outage() -> None:
    with pytest.raises(PulsarUnavailable):
        async with a_broker()._within_time():
            raise Exception
