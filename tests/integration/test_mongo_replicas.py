"""Several servers upon one MongoDB: who drives what, and what a server that was taken over is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import NetworkTimeout, ServerSelectionTimeoutError

from tesp_api.errors import ClaimLost, StoreUnavailable
from tesp_api.store.base import Changes, Claim
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_logs import LogKey, write_chunk
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tests.factories import make_task
from tests.integration.mongo_stores import MongoPlace

pytestmark = pytest.mark.services

S = State


async def expire(place: MongoPlace) -> None:
    """Let all leases end, without waiting for it."""
    await place.db.tasks.update_many({"claim": {"$exists": True}}, {"$set": {"free_at": 1}})


async def test_two_servers_never_claim_the_same_task(place: MongoPlace) -> None:
    stores = [await place.open() for _ in range(2)]
    made = [make_task() for _ in range(100)]
    await asyncio.gather(*(stores[0].create(task) for task in made))

    async def claim_all(number: int) -> list[str]:
        mine: list[str] = []
        while got := await stores[number].claim(f"server-{number}", lease_s=60, new_limit=3):
            mine += [task.id for task in got]
        return mine

    first, second = await asyncio.gather(claim_all(0), claim_all(1))
    assert sorted(first + second) == [task.id for task in made]
    assert first
    assert second


async def test_leases_go_by_the_databases_clock(place: MongoPlace) -> None:
    """A server whose clock is an hour late neither loses its own claims nor takes those of others."""
    store, late = await place.open(), await place.open()
    task = make_task(created_at=now() - timedelta(hours=1))
    await store.create(task)
    (claimed,) = await store.claim("one", lease_s=30, new_limit=9)
    assert claimed.claim
    assert timedelta(seconds=20) < claimed.claim.expires_at - now() <= timedelta(seconds=31)
    assert await late.claim("two", lease_s=30, new_limit=9) == []
    await store.transition(task.id, S.INITIALIZING, claim=claimed.claim, reason="x")
    at = (await store.history(task.id))[-1].at
    assert abs(datetime.now(UTC) - at) < timedelta(seconds=5)


Act = Callable[[MongoTaskStore, Claim], Awaitable[object]]
ACTS: dict[str, Act] = {
    "transition": lambda store, claim: store.transition(
        claim.task_id, S.INITIALIZING, claim=claim, reason=""
    ),
    "update": lambda store, claim: store.update(claim.task_id, Changes(log={"x": 1}), claim=claim, reason=""),
    "append_log": lambda store, claim: store.append_log(claim, 1, 0, "stdout", 5, b"no"),
    "drop_log": lambda store, claim: store.drop_log(claim, 1, 0, "stdout", 0, 9),
    "retire": lambda store, claim: store.retire(claim),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_server_that_was_taken_over_is_fenced(place: MongoPlace, act: Act) -> None:
    stalled, heir = await place.open(), await place.open()
    task = make_task()
    await stalled.create(task)
    (mine,) = await stalled.claim("stalled", lease_s=60, new_limit=1)
    assert mine.claim
    await stalled.append_log(mine.claim, 1, 0, "stdout", 0, b"12345")
    assert await heir.claim("heir", lease_s=60, new_limit=1) == []
    await expire(place)
    (taken,) = await heir.claim("heir", lease_s=60, new_limit=1)
    before = await place.db.tasks.find_one({"_id": task.id})
    chunks = await place.db.log_chunks.find().to_list()
    with pytest.raises(ClaimLost):
        await act(stalled, mine.claim)
    assert await stalled.renew("stalled", lease_s=60) == {}
    await stalled.release("stalled")
    assert await place.db.tasks.find_one({"_id": task.id}) == before
    assert await place.db.log_chunks.find().to_list() == chunks
    assert taken.claim
    await heir.update(task.id, Changes(), claim=taken.claim)


async def test_a_late_chunk_of_an_old_claim_replaces_nothing_of_a_new_one(place: MongoPlace) -> None:
    """The one race that is left: the old claim was still good when it was looked at."""
    store = await place.open()
    task = make_task()
    await store.create(task)
    (old,) = await store.claim("old", lease_s=60, new_limit=1)
    await expire(place)
    (new,) = await store.claim("new", lease_s=60, new_limit=1)
    assert old.claim
    assert new.claim
    await store.append_log(new.claim, 1, 0, "stdout", 0, b"new")
    key = LogKey(task.id, 1, 0, "stdout")
    await write_chunk(place.db.log_chunks, key, 0, b"old but longer", old.claim)
    assert (await store.read_log(task.id, 1, 0, "stdout", offset=0, limit=99)).data == b"new"


async def test_a_claim_whose_answer_was_lost_is_not_kept_alive(
    place: MongoPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody drives what it took: it must not be renewed for ever, but be claimed again."""
    store = await place.open()
    task = make_task()
    await store.create(task)
    assert store._opened
    claims = store._opened.claims
    real = claims._update

    async def lost(*args: object, **kwargs: object) -> int:
        if await real(*args, **kwargs):  # type: ignore[arg-type]
            raise StoreUnavailable("the answer did not arrive")
        return 0

    monkeypatch.setattr(claims, "_update", lost)
    with pytest.raises(StoreUnavailable):
        await store.claim("one", lease_s=60, new_limit=1)
    monkeypatch.undo()
    assert (await store.get(task.id)).claim is not None
    before = (await place.db.tasks.find_one({"_id": task.id}) or {})["free_at"]
    assert await store.renew("one", lease_s=600) == {}
    assert (await place.db.tasks.find_one({"_id": task.id}) or {})["free_at"] == before
    await expire(place)
    (again,) = await store.claim("one", lease_s=60, new_limit=1)
    assert again.id == task.id
    assert await store.renew("one", lease_s=60) == {task.id: S.QUEUED}


async def test_claims_without_an_answer_are_not_remembered_for_ever(
    place: MongoPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away for a day would have each renewal name thousands of calls from then on."""
    store = await place.open()
    assert store._opened
    claims = store._opened.claims
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_update", failing(ServerSelectionTimeoutError("nobody is there")))
        with pytest.raises(StoreUnavailable):
            await store.claim("one", lease_s=60, new_limit=1)
        assert not claims._unanswered, "nothing was sent"
        patch.setattr(claims, "_update", failing(NetworkTimeout("no answer")))
        with pytest.raises(StoreUnavailable):
            await store.claim("one", lease_s=60, new_limit=1)
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_free_expired_new", failing(ServerSelectionTimeoutError("gone meanwhile")))
        with pytest.raises(StoreUnavailable):
            await store.claim("one", lease_s=60, new_limit=1)
    assert len(claims._unanswered) == 2
    await store.renew("one", lease_s=0.2)
    assert len(claims._unanswered) == 2, "their leases may have begun just now"
    await asyncio.sleep(0.25)
    await store.renew("one", lease_s=0.2)
    assert not claims._unanswered


async def test_a_claim_that_is_on_its_way_is_not_forgotten(
    place: MongoPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await place.open()
    assert store._opened
    claims = store._opened.claims
    waits = asyncio.Event()
    really = claims._take_new

    async def slow(*args: Any) -> int:
        taken = await really(*args)
        await waits.wait()
        return taken

    monkeypatch.setattr(claims, "_take_new", slow)
    claiming = asyncio.create_task(store.claim("one", lease_s=60, new_limit=1))
    while not claims._unanswered:  # noqa: ASYNC110 - it is asked by the store
        await asyncio.sleep(0.01)
    for _ in range(3):
        await store.renew("one", lease_s=0.0)
    assert len(claims._unanswered) == 1
    waits.set()
    assert await claiming == []
    assert not claims._unanswered


def failing(error: Exception) -> Callable[..., Awaitable[int]]:
    async def fail(*_: object, **__: object) -> int:
        raise error

    return fail
