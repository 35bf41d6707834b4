"""What the runner does not do: each look, claim and way to a site has its price."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tesp_api.pulsar.base import JobOrder
from tesp_api.tes.states import State
from tests.fakes.pulsar import FakePulsar
from tests.fakes.site import FakeWorker
from tests.unit.runner.attempts import TIMING, Sites, until_true


class WatchedPulsar(FakePulsar):
    """Remembers what it was asked for; nothing is cleaned before `may_clean` is set."""

    def __init__(self) -> None:
        super().__init__("site")
        self.orders: list[JobOrder] = []
        self.asked: list[str] = []
        self.may_clean = asyncio.Event()
        self.may_clean.set()

    async def launch(self, order: JobOrder) -> None:
        self.orders.append(order)
        self.asked.append("launch")
        await super().launch(order)

    async def read_file(self, job_id: str, name: str) -> bytes | None:
        self.asked.append(name)
        return await super().read_file(job_id, name)

    async def status(self, job_id: str) -> Any:
        self.asked.append("status")
        return await super().status(job_id)

    async def clean(self, job_id: str) -> None:
        await self.may_clean.wait()
        await super().clean(job_id)


@asynccontextmanager
async def watched(folder: Path, tables: Mapping[str, Any]) -> AsyncIterator[Sites]:
    """One site that runs one job at a time."""
    sites = Sites(folder, {"site": {"max_running": 1}}, tables)
    sites.pulsars = {"site": WatchedPulsar()}
    await sites.store.open()
    await sites.start()
    try:
        yield sites
    finally:
        await sites.stop()
        await sites.store.aclose()


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[Sites]:
    async with watched(tmp_path, {}) as sites:
        yield sites


def pulsar_of(sites: Sites) -> WatchedPulsar:
    pulsar = sites.pulsars["site"]
    assert isinstance(pulsar, WatchedPulsar)
    return pulsar


async def test_the_place_of_a_task_is_free_once_it_has_ended(sites: Sites) -> None:
    """A site that cleans up slowly keeps nobody waiting."""
    pulsar_of(sites).may_clean.clear()
    first, second = await sites.submit(), await sites.submit()
    complete(await sites.worker(first))
    worker = await sites.worker(second)
    assert (await sites.store.get(first)).live
    pulsar_of(sites).may_clean.set()
    complete(worker)
    for task_id in (first, second):
        assert (await sites.ended(task_id)).state is State.COMPLETE


async def test_a_job_that_was_launched_just_now_is_not_looked_at_in_the_same_breath(tmp_path: Path) -> None:
    slow = {"poll_min_s": 5, "poll_max_s": 5, "scan_s": 0.05}
    async with watched(tmp_path, {"scheduler": slow}) as sites:
        await sites.worker(await sites.submit())
        await asyncio.sleep(0.1)
        assert pulsar_of(sites).asked == ["launch"]


async def test_only_what_was_never_sent_is_launched_as_new(sites: Sites) -> None:
    task_id = await sites.submit()
    await sites.worker(task_id)
    await sites.restart()
    await until_true(lambda: launched(sites, 2))
    assert [order.is_new for order in pulsar_of(sites).orders] == [True, False]


async def test_events_are_read_when_there_are_new_ones(sites: Sites) -> None:
    worker = await sites.worker(await sites.submit())
    worker.event("initializing")
    await until_true(lambda: asked(sites, "events.ndjson", 1))
    for _ in range(3):
        before = pulsar_of(sites).asked.count("heartbeat")
        worker.beat()
        await until_true(lambda before=before: asked(sites, "heartbeat", before + 2))  # type: ignore[misc]
    assert pulsar_of(sites).asked.count("events.ndjson") == 1


async def test_the_store_is_not_asked_for_more_where_nothing_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: list[int] = []
    async with watched(tmp_path, {"scheduler": {**TIMING, "scan_s": 60}}) as sites:
        claim = sites.store.claim

        async def counted(*arguments: Any, **options: Any) -> Any:
            claims.append(1)
            return await claim(*arguments, **options)

        monkeypatch.setattr(sites.store, "claim", counted)
        for _ in range(3):
            task_id = await sites.submit()
            complete(await sites.worker(task_id))
            await sites.ended(task_id)
    assert len(claims) <= 1 + 3  # at the start, and as the bell rings for each


def complete(worker: FakeWorker) -> None:
    worker.run_executor()
    worker.finish()


async def launched(sites: Sites, times: int) -> bool:
    return len(pulsar_of(sites).orders) >= times


async def asked(sites: Sites, name: str, times: int) -> bool:
    return pulsar_of(sites).asked.count(name) >= times
