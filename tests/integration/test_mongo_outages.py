"""MongoDB that hangs, is killed, comes back: what was acknowledged is there, what was refused is not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tesp_api.errors import StoreUnavailable
from tesp_api.store.base import Changes, Claim, OnceKey, TaskQuery
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_connection import OPERATION_TIMEOUT_S
from tesp_api.store.mongo_creation import SETTLE_TIMEOUT_S
from tests.factories import make_task
from tests.integration.mongo_stores import MongoPlace, mongo_place
from tests.services.mongod import Mongod

pytestmark = pytest.mark.services

CREATORS = 32
LIMIT_S = OPERATION_TIMEOUT_S + SETTLE_TIMEOUT_S + 3


@pytest.fixture(params=[False, True], ids=["alone", "replica-set"], scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Mongod]:
    """A MongoDB of these tests' own."""
    with Mongod(replica_set=request.param) as running:
        yield running


@pytest.fixture
async def place(server: Mongod) -> AsyncIterator[MongoPlace]:
    async with mongo_place(server) as there:
        yield there


Act = Callable[[MongoTaskStore, Claim], Awaitable[object]]
ACTS: dict[str, Act] = {
    "check": lambda store, claim: store.check(),
    "create": lambda store, claim: store.create(make_task()),
    "get": lambda store, claim: store.get(claim.task_id),
    "list": lambda store, claim: store.list_states(TaskQuery()),
    "cancel": lambda store, claim: store.request_cancel(claim.task_id, "why"),
    "claim": lambda store, claim: store.claim("other", lease_s=60, new_limit=1),
    "renew": lambda store, claim: store.renew(claim.owner, lease_s=60),
    "update": lambda store, claim: store.update(claim.task_id, Changes(), claim=claim, reason="x"),
    "append_log": lambda store, claim: store.append_log(claim, 1, 0, "stdout", 0, b"x"),
}


async def fails_in_time(work: Awaitable[object]) -> None:
    began_at = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await work
    assert time.monotonic() - began_at < LIMIT_S


@pytest.mark.parametrize("outage", ["pause", "kill"])
async def test_every_operation_gives_up_in_time_and_works_again_afterwards(
    server: Mongod, place: MongoPlace, outage: str
) -> None:
    store = await place.open()
    await store.create(make_task())
    (claimed,) = await store.claim("one", lease_s=600, new_limit=1)
    assert claimed.claim
    claim = claimed.claim
    server.pause() if outage == "pause" else server.kill()
    try:
        await asyncio.gather(*(fails_in_time(act(store, claim)) for act in ACTS.values()))
    finally:
        server.resume() if outage == "pause" else server.start()
    await works_again(store)
    for name, act in ACTS.items():
        assert await act(store, claim) is not StoreUnavailable, name


async def works_again(store: MongoTaskStore) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return await store.check()
        except StoreUnavailable:
            assert time.monotonic() < deadline, "the store does not recover"
            await asyncio.sleep(0.1)


async def create_until(
    store: MongoTaskStore, over: asyncio.Event, acknowledged: set[str], refused: set[str], *, keyed: bool
) -> None:
    """Create task after task; with keys, each until it is acknowledged, as a client does that tries again."""
    while not over.is_set():
        task = make_task()
        once = OnceKey(task.id, "digest") if keyed else None
        try:
            acknowledged.add(await store.create(task, once=once))
        except StoreUnavailable:
            refused.add(task.id)
            await asyncio.sleep(0.01)
            while keyed:
                try:
                    acknowledged.add(await store.create(make_task(), once=once))
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.2)


async def grown(acknowledged: set[str], size: int) -> None:
    deadline = time.monotonic() + 60
    while len(acknowledged) < size:
        assert time.monotonic() < deadline, "nothing is created any more"
        await asyncio.sleep(0.01)


async def stored(place: MongoPlace) -> set[str]:
    return {found["_id"] async for found in place.db.tasks.find({"state": {"$exists": True}}, {"_id": 1})}


async def go_through(server: Mongod, outage: str, acknowledged: set[str]) -> None:
    """An outage, with tasks created before and after it."""
    await grown(acknowledged, 200)
    if outage == "kill":
        server.kill()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.start)
    else:
        server.pause()
        await asyncio.sleep(LIMIT_S if outage == "long-pause" else OPERATION_TIMEOUT_S + 1)
        server.resume()
    await grown(acknowledged, len(acknowledged) + 200)


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
@pytest.mark.parametrize("outage", ["pause", "kill", "long-pause"])
async def test_creates_in_flight_are_stored_if_and_only_if_acknowledged(
    server: Mongod, place: MongoPlace, outage: str, keyed: bool
) -> None:
    store = await place.open()
    over = asyncio.Event()
    acknowledged: set[str] = set()
    refused: set[str] = set()
    async with asyncio.TaskGroup() as creators:
        for _ in range(CREATORS):
            creators.create_task(create_until(store, over, acknowledged, refused, keyed=keyed))
        await go_through(server, outage, acknowledged)
        over.set()
    await works_again(store)
    await store.claim("one", lease_s=60, new_limit=0)
    assert await stored(place) == acknowledged
    if outage == "long-pause":
        assert refused
    if not keyed:
        assert not acknowledged & refused
