"""Versions of a MongoDB database: new, older, newer, somebody else's."""

import asyncio

import pytest

from tesp_api.errors import StoreError, StoreUnavailable
from tesp_api.store import mongo_schema
from tesp_api.store.base import TaskQuery
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_documents import Database
from tesp_api.store.usage import Usage
from tests.factories import make_task
from tests.integration.mongo_stores import MongoPlace

pytestmark = pytest.mark.services


async def test_a_new_database_is_of_the_newest_version(place: MongoPlace) -> None:
    await asyncio.gather(*(place.open() for _ in range(4)))
    meta = await place.db.meta.find_one({"_id": "schema"})
    assert meta == {"_id": "schema", "version": mongo_schema.newest_version()}
    there = set(await place.db.tasks.index_information())
    assert there == {"_id_", *(str(index) for index in mongo_schema.Index)}


async def test_a_migration_may_take_longer_than_any_other_question(
    place: MongoPlace, store: MongoTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go_slowly(db: Database) -> None:
        await db.meta.find_one({"_id": "schema", "$where": "sleep(5000) || true"})

    monkeypatch.setattr(mongo_schema, "MIGRATIONS", (*mongo_schema.MIGRATIONS, go_slowly))
    await place.open()
    meta = await place.db.meta.find_one({"_id": "schema"})
    assert meta == {"_id": "schema", "version": mongo_schema.newest_version()}


async def test_a_newer_database_is_refused(place: MongoPlace, store: MongoTaskStore) -> None:
    await place.db.meta.update_one({"_id": "schema"}, {"$set": {"version": 99}})
    with pytest.raises(StoreError, match=r"has schema 99, but this tesp knows only up to \d"):
        await place.open()


async def test_a_database_of_something_else_is_refused(place: MongoPlace) -> None:
    await place.db.tasks.insert_one({"title": "buy milk"})
    with pytest.raises(StoreError, match="not TESP's"):
        await place.open()
    assert await place.db.tasks.count_documents({}) == 1


async def test_older_documents_are_migrated_once_while_several_servers_open(
    place: MongoPlace, store: MongoTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [make_task(name=f"n{number}") for number in range(20)]
    for task in tasks:
        await store.create(task)
    old = mongo_schema.newest_version()
    # An older version wrote no warnings and called the number of claims otherwise.
    await place.db.tasks.update_many({}, {"$unset": {"warnings": 1}, "$rename": {"epoch": "claims"}})
    runs: list[str] = []

    async def add_warnings(db: Database) -> None:
        runs.append("warnings")
        await db.tasks.update_many({"warnings": {"$exists": False}}, {"$set": {"warnings": "[]"}})
        await asyncio.sleep(0.05)  # the others come meanwhile

    async def rename_epoch(db: Database) -> None:
        runs.append("epoch")
        await db.tasks.update_many({"claims": {"$exists": True}}, {"$rename": {"claims": "epoch"}})

    steps = (*mongo_schema.MIGRATIONS, add_warnings, rename_epoch)
    monkeypatch.setattr(mongo_schema, "MIGRATIONS", steps)
    opened = await asyncio.gather(*(place.open() for _ in range(4)))
    assert runs == ["warnings", "epoch"]
    assert await place.db.meta.find_one({"_id": "schema"}) == {"_id": "schema", "version": old + 2}
    for each in opened:
        assert (await each.list_tasks(TaskQuery())).items == tasks[::-1]
    assert len(await opened[0].claim("one", lease_s=60, new_limit=99)) == 20


async def test_tasks_of_version_1_have_nothing_sealed(place: MongoPlace, store: MongoTaskStore) -> None:
    await store.create(old := make_task())
    await place.db.meta.update_one({"_id": "schema"}, {"$set": {"version": 1}})
    again = await place.open()
    await again.create(make_task(sealed="logins"))
    assert [task.sealed for task in (await again.list_tasks(TaskQuery())).items] == ["logins", ""]
    assert await again.get(old.id) == old
    meta = await place.db.meta.find_one({"_id": "schema"})
    assert meta == {"_id": "schema", "version": mongo_schema.newest_version()}


async def test_a_migration_that_was_interrupted_is_done_by_the_next(
    place: MongoPlace, store: MongoTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(make_task())
    tries: list[int] = []

    async def step(db: Database) -> None:
        tries.append(1)
        await db.tasks.update_many({}, {"$set": {"moved": True}})
        if len(tries) == 1:
            raise StoreUnavailable("killed")

    monkeypatch.setattr(mongo_schema, "MIGRATIONS", (*mongo_schema.MIGRATIONS, step))
    monkeypatch.setattr(mongo_schema, "_MIGRATION_LEASE_MS", 200)
    with pytest.raises(StoreUnavailable):
        await place.open()
    again = await place.open()
    assert len(tries) == 2
    assert len((await again.list_states(TaskQuery())).items) == 1
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer tesp"):
        await place.open()


async def test_a_step_that_takes_longer_than_the_lease_is_done_once(
    place: MongoPlace, store: MongoTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    async def step(_: Database) -> None:
        begun.append(1)
        await asyncio.sleep(3)

    monkeypatch.setattr(mongo_schema, "MIGRATIONS", (*mongo_schema.MIGRATIONS, step))
    monkeypatch.setattr(mongo_schema, "_MIGRATION_LEASE_MS", 1500)
    monkeypatch.setattr(mongo_schema, "_RENEWAL_S", 0.2)
    async with asyncio.timeout(30):
        await asyncio.gather(place.open(), place.open())
    assert begun == [1]
    meta = await place.db.meta.find_one({"_id": "schema"})
    assert meta == {"_id": "schema", "version": mongo_schema.newest_version()}


async def test_servers_that_lose_the_lease_in_a_step_come_to_an_end(
    place: MongoPlace, store: MongoTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is silent during the step, so that another one takes it over each time."""
    begun: list[int] = []

    async def step(_: Database) -> None:
        begun.append(1)
        await asyncio.sleep(1)

    monkeypatch.setattr(mongo_schema, "MIGRATIONS", (*mongo_schema.MIGRATIONS, step))
    monkeypatch.setattr(mongo_schema, "_MIGRATION_LEASE_MS", 300)
    async with asyncio.timeout(8):
        await asyncio.gather(*(place.open() for _ in range(3)))
    assert 1 < len(begun) <= 3
    meta = await place.db.meta.find_one({"_id": "schema"})
    assert meta == {"_id": "schema", "version": mongo_schema.newest_version()}


async def test_logs_and_queues_of_version_4_are_counted_and_have_an_order(
    place: MongoPlace, store: MongoTaskStore
) -> None:
    waiting, ended = make_task(owner="alice"), make_task(owner="bob")
    for task in (waiting, ended):
        await store.create(task)
    tasks, chunks = place.db.tasks, place.db.log_chunks
    await tasks.update_one({"_id": ended.id}, {"$set": {"live": False, "state": "COMPLETE", "ended_at": 1}})
    await chunks.insert_many(
        {"_id": f"{task_id}/000001/000000/stdout/{at:015d}", "size": 2**30, "end": 0, "epoch": 1, "data": b""}
        for task_id, at in ((ended.id, 0), (ended.id, 1), (ended.id, 2), ("no-such-task", 0))
    )
    for index in ("claimable_by_owner", "logs"):
        await tasks.drop_index(index)
    await tasks.create_index(
        [("begun", 1), ("free_at", 1), ("_id", 1)],
        name="claimable",
        partialFilterExpression={"live": True},
    )
    await place.db.meta.update_one({"_id": "schema"}, {"$set": {"version": 4}})
    again = await place.open()
    assert await again.usage("bob") == Usage(0, 1, 3 * 2**30)
    assert await again.usage(None) == Usage(1, 2, 3 * 2**30)
    assert [task.id for task in await again.claim("one", lease_s=60, new_limit=9)] == [waiting.id]
    assert "claimable" not in await tasks.index_information()
