"""What is sent to a Pulsar behind a broker, and how often, whatever becomes of it there."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar import amqp
from tesp_api.pulsar.amqp import AmqpPulsar
from tesp_api.pulsar.base import JobOrder, JobState
from tesp_api.pulsar.mailbox import MemoryMailbox

ORDER = JobOrder("task-1", b"PK worker", b"{}")


class Broker:
    """Keeps what is sent. Of jobs that Pulsar is asked for, it says `word`, if there is one."""

    def __init__(self, mailbox: MemoryMailbox | None = None) -> None:
        self.consumers = 1
        self.word = "lost"
        self.setups: list[str] = []
        self.pulsar = AmqpPulsar("far", "amqp://nobody/", mailbox or MemoryMailbox())
        self.pulsar._broker = self  # type: ignore[assignment]

    async def listeners(self) -> int:
        return self.consumers

    async def send(self, purpose: str, body: Mapping[str, Any]) -> None:
        job_id = body["job_id"]
        if purpose == "setup":
            self.setups.append(job_id)
        elif purpose == "status":
            await self.pulsar._hear({"job_id": job_id, "status": self.word})

    def orders(self) -> int:
        return self.setups.count(ORDER.job_id)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(amqp, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_an_order_that_the_broker_keeps_is_sent_once(broker: Broker) -> None:
    await broker.pulsar.launch(replace(ORDER, is_new=True))
    broker.consumers = 0
    for _ in range(3):
        with pytest.raises(PulsarUnavailable, match="nobody listens"):
            await broker.pulsar.launch(ORDER)
    broker.consumers = 1
    await broker.pulsar.launch(ORDER)
    assert broker.orders() == 1


@pytest.mark.parametrize("word", ["preprocessing", "queued", "running", "complete"])
async def test_a_job_that_pulsar_has_is_not_sent_to_it_again(broker: Broker, word: str) -> None:
    await broker.pulsar.launch(ORDER)
    broker.word = word
    await broker.pulsar.status(ORDER.job_id)
    await broker.pulsar.launch(ORDER)
    assert broker.orders() == 1


async def test_what_the_worker_reports_is_seen_while_its_pulsar_is_away() -> None:
    mailbox = MemoryMailbox()
    broker = Broker(mailbox)
    await broker.pulsar.launch(ORDER)
    broker.consumers = 0
    await mailbox.put(ORDER.job_id, "heartbeat", b'{"ended": false}')
    await broker.pulsar.launch(ORDER)
    assert broker.orders() == 1


async def test_an_order_that_pulsar_has_not_got_is_sent_again_ever_more_seldom(
    broker: Broker, clock: list[float]
) -> None:
    await broker.pulsar.launch(ORDER)
    sent_after = []
    for passed_s in range(1, 3600, 10):
        clock[0] = 1000.0 + passed_s
        assert (await broker.pulsar.status(ORDER.job_id)).state is JobState.UNKNOWN
        before = broker.orders()
        await broker.pulsar.launch(ORDER)
        sent_after += [passed_s] * (broker.orders() - before)
    assert sent_after == [61, 181, 421, 901, 1801, 2701]


async def test_one_word_of_pulsar_has_an_order_sent_again_once(broker: Broker, clock: list[float]) -> None:
    """It may be away since it said so, and then each order would wait for it."""
    await broker.pulsar.launch(ORDER)
    await broker.pulsar.status(ORDER.job_id)
    for _ in range(10):
        clock[0] += 3600
        await broker.pulsar.launch(ORDER)
    assert broker.orders() == 2


async def test_an_order_is_lost_for_certain_if_a_later_probe_was_carried_out(
    broker: Broker, clock: list[float]
) -> None:
    """Pulsar takes orders one after the other."""
    await broker.pulsar.launch(ORDER)
    await broker.pulsar.status(ORDER.job_id)
    await broker.pulsar.launch(ORDER)
    assert broker.orders() == 1, "it may lie before Pulsar"
    clock[0] += 1
    broker.pulsar._prober.heard_of = clock[0]
    await broker.pulsar.launch(ORDER)
    assert broker.orders() == 2
    await broker.pulsar.launch(ORDER)
    assert broker.orders() == 2, "that was before it was sent again"


async def test_another_process_sends_what_pulsar_does_not_say_that_it_has(broker: Broker) -> None:
    mailbox = MemoryMailbox()
    for word, orders in ((None, 1), ("lost", 1), ("preprocessing", 1), ("queued", 0), ("running", 0)):
        broker = Broker(mailbox)
        if word is not None:
            broker.word = word
            await broker.pulsar.status(ORDER.job_id)
        await broker.pulsar.launch(ORDER)
        assert (word, broker.orders()) == (word, orders)
