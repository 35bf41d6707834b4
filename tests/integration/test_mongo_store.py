"""What else only the MongoDB store has: the limits of documents, doubtful creations, credentials."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from pymongo.errors import AutoReconnect

from tesp_api.errors import InvalidRequest, StoreError, StoreUnavailable
from tesp_api.store import mongo_connection, mongo_removal, mongo_usage
from tesp_api.store.base import REPORTS_STAY, Changes, Job, OnceKey, TaskQuery
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_connection import connect, make_client
from tesp_api.store.mongo_documents import Database
from tesp_api.store.mongo_logs import of_task
from tesp_api.store.usage import Usage
from tesp_api.tes.states import State
from tests.factories import make_task
from tests.integration.mongo_stores import MongoPlace
from tests.services.mongod import Mongod
from tests.services.pulsar_rest import free_port

pytestmark = pytest.mark.services

S = State


async def _patiently(call: Callable[[], Awaitable[object]]) -> None:
    """Again while the database is away: on a busy machine the driver gives up on megabytes now and then."""
    for _ in range(5):
        try:
            await call()
            return
        except StoreUnavailable:
            await asyncio.sleep(0.2)
    await call()


async def test_a_request_of_eight_mebibytes_fits(store: MongoTaskStore) -> None:
    noise = os.urandom(4 * 1024**2).hex()
    task = make_task(inputs=[{"path": "/in", "content": noise}])
    await store.create(task)
    assert (await store.get(task.id)).request["inputs"][0]["content"] == noise
    (claimed,) = await store.claim("one", lease_s=60, new_limit=1)
    assert claimed.claim
    await store.transition(task.id, S.INITIALIZING, claim=claimed.claim, reason="x")


async def test_what_is_too_large_is_the_clients_fault(store: MongoTaskStore) -> None:
    noise = os.urandom(20 * 1024**2).decode("latin-1")
    with pytest.raises(InvalidRequest, match=r"^body: is larger than can be stored"):
        await _patiently(partial(store.create, make_task(inputs=[{"path": "/in", "content": noise}])))
    many = {f"key-{number}": "value" for number in range(400_000)}
    with pytest.raises(InvalidRequest, match=r"^body: is larger than can be stored"):
        await _patiently(partial(store.create, make_task(tags=many)))
    assert (await store.list_states(TaskQuery())).items == []


async def test_of_tasks_that_come_together_each_has_its_own_outcome(store: MongoTaskStore) -> None:
    """They share an insert: what is wrong with one is not the others' fault."""
    good = [make_task() for _ in range(30)]
    known = good[0]
    too_large = make_task(inputs=[{"path": "/in", "content": os.urandom(20 * 1024**2).decode("latin-1")}])
    keyed = [make_task(), make_task()]
    outcomes = await asyncio.gather(
        *(store.create(task) for task in good),
        store.create(known),
        store.create(too_large),
        store.create(keyed[0], once=OnceKey("key", "one body")),
        store.create(keyed[1], once=OnceKey("key", "another body")),
        return_exceptions=True,
    )
    assert outcomes[:31] == [task.id for task in [*good, known]]
    assert isinstance(outcomes[31], InvalidRequest)
    assert sorted(type(outcome).__name__ for outcome in outcomes[32:]) == ["KeyReused", "str"]
    page = await store.list_states(TaskQuery())
    winner = next(outcome for outcome in outcomes[32:] if isinstance(outcome, str))
    assert {task_id for task_id, _ in page.items} == {*(task.id for task in good), winner}


async def test_logs_that_outgrow_the_document_are_refused_and_nothing_is_lost(store: MongoTaskStore) -> None:
    task = make_task()
    await store.create(task)
    (claimed,) = await store.claim("one", lease_s=60, new_limit=1)
    assert claimed.claim
    claim = claimed.claim
    outputs = [{"url": f"file:///data/{number}", "path": f"/out/{number}"} for number in range(200_000)]
    many = {"outputs": outputs}  # 11 MB, which compress well
    stored = await store.update(task.id, Changes(attempt=1, log=many), claim=claimed.claim)
    assert len(stored.logs[0]["outputs"]) == 200_000
    noise = {"system_logs": [os.urandom(10 * 1024**2).decode("latin-1")]}
    await _patiently(lambda: store.update(task.id, Changes(attempt=2, log=noise), claim=claim))
    # The first is too much beside what is there, the second also by itself.
    for log in (noise, {"system_logs": noise["system_logs"] * 2}):
        with pytest.raises(StoreError) as refused:
            await _patiently(partial(store.update, task.id, Changes(attempt=3, log=log), claim=claim))
        assert type(refused.value) is StoreError
        assert "large" in str(refused.value).lower()
    after = await store.get(task.id)
    assert (after.attempt, len(after.logs)) == (2, 2)
    await store.transition(task.id, S.SYSTEM_ERROR, claim=claimed.claim, reason="too much")


async def test_a_task_retires_however_long_its_logs_take_to_count(
    place: MongoPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database takes longer to read each chunk than any other operation may last."""
    monkeypatch.setitem(mongo_connection._TIMEOUTS_MS, "timeoutMS", 1500)
    store = await place.open()
    await store.create(task := make_task(owner="alice"))
    (claimed,) = await store.claim("one", lease_s=60, new_limit=1)
    assert claimed.claim
    changes = Changes(attempt=1, job=Job("cluster", task.id))
    await store.transition(task.id, S.INITIALIZING, claim=claimed.claim, reason="", changes=changes)
    await store.append_log(claimed.claim, 1, 0, "stdout", 0, b"hello")
    await store.transition(task.id, S.SYSTEM_ERROR, claim=claimed.claim, reason="")
    slowly = {"$function": {"body": "function() { sleep(2500); return true; }", "args": [], "lang": "js"}}
    monkeypatch.setattr(mongo_usage, "of_task", lambda task_id: {**of_task(task_id), "$expr": slowly})
    await store.retire(claimed.claim)
    assert await store.usage("alice") == Usage(0, 1, 5)


async def test_what_a_dead_server_had_begun_to_remove_is_finished(
    place: MongoPlace, store: MongoTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = []
    for _ in range(2):
        task = make_task()
        await store.create(task)
        (claimed,) = await store.claim("one", lease_s=60, new_limit=1)
        assert claimed.claim
        await store.append_log(claimed.claim, 1, 0, "stdout", 0, b"out")
        await store.transition(task.id, S.CANCELED, claim=claimed.claim, reason="over")
        await store.retire(claimed.claim)
        claims.append(claimed.claim)

    async def dies(db: Database, ids: list[str]) -> None:
        raise StoreUnavailable("killed")

    monkeypatch.setattr(mongo_removal, "_remove_output", dies)
    with pytest.raises(StoreUnavailable):
        await store.delete(claims[0].task_id)
    monkeypatch.undo()
    assert await place.db.log_chunks.count_documents({}) == 2
    await place.open()
    assert await place.db.log_chunks.count_documents({}) == 2, "its server may still be about it"
    monkeypatch.setattr(mongo_removal, "_GIVEN_UP_AFTER_MS", -1)
    await place.open()
    assert await place.db.removals.count_documents({}) == 0
    assert [chunk["_id"][:36] for chunk in await place.db.log_chunks.find().to_list()] == [claims[1].task_id]


async def test_a_marker_bars_an_insert_that_comes_late(place: MongoPlace, store: MongoTaskStore) -> None:
    task, late = make_task(), make_task(tags={"a": "b"})
    await store.create(task)
    assert store._opened
    creation = store._opened.creation
    assert await creation._has_arrived(task.id, None)
    assert not await creation._has_arrived(late.id, None)
    with pytest.raises(Exception, match="E11000"):
        await place.db.tasks.insert_one({"_id": late.id, "state": "QUEUED"})
    for query in (TaskQuery(), TaskQuery(owner=""), TaskQuery(states=frozenset(State))):
        assert (await store.list_states(query)).items == [(task.id, S.QUEUED)]
    for read in (store.get, store.get_state, store.delete):
        with pytest.raises(Exception, match="there is no task"):
            await read(late.id)
    assert await store.history(late.id) == []
    assert await store.create(late) == late.id, "whoever tries again on purpose is served"
    assert await store.get(late.id) == late


async def test_a_doubtful_task_is_gone_before_anything_is_claimed(store: MongoTaskStore) -> None:
    doubtful, keyed, sure = make_task(), make_task(), make_task()
    await store.create(doubtful)
    await store.create(keyed, once=OnceKey("key", "digest"))
    await store.create(sure)
    assert store._opened
    store._opened.creation._doubtful |= {doubtful.id, keyed.id}
    claimed = await store.claim("one", lease_s=60, new_limit=9)
    assert [task.id for task in claimed] == [keyed.id, sure.id]
    assert not store._opened.creation._doubtful


async def test_a_doubtful_task_that_is_driven_stays(store: MongoTaskStore) -> None:
    task = make_task()
    await store.create(task)
    await store.claim("another server", lease_s=60, new_limit=9)
    assert store._opened
    store._opened.creation._doubtful.add(task.id)
    await store.claim("one", lease_s=60, new_limit=9)
    assert (await store.get(task.id)).claim is not None


SECRET = "s3cr3t-pass"
WRONG_URLS = [
    f"mongodb://user:{SECRET}@host:port/",
    f"mongodb://user:{SECRET}@/",
    f"mongodb://user:{SECRET}/x@host/",
    f"mongodb://us:er:{SECRET}@host/",
    f"mongodb://user:{SECRET}@host/?replicaSet",
    f"mongodb://user:%{SECRET}@host/",
]


@pytest.mark.parametrize("url", WRONG_URLS)
def test_a_wrong_url_is_not_quoted(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        make_client(url, retry_writes=True)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


async def test_a_password_is_shown_nowhere(
    mongod: Mongod, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    for port in (mongod.port, free_port()):
        store = MongoTaskStore(f"mongodb://user:{SECRET}@127.0.0.1:{port}/", database="no_such")
        with pytest.raises(StoreError) as refused:
            await store.open()
        chain: list[BaseException | None] = [refused.value, refused.value.__cause__]
        assert not any(SECRET in f"{error} {error!r}" for error in chain)
        assert SECRET not in repr(store)
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())


async def test_what_the_url_says_of_safety_is_overruled() -> None:
    url = "mongodb://h/?w=0&journal=false&readConcernLevel=local&retryWrites=false&timeoutMS=1000"
    client = make_client(url, retry_writes=True)
    assert client.write_concern.document == {"w": "majority", "j": True}
    assert client.read_concern.level == "majority"
    assert client.options.timeout == 1.0
    await client.close()


async def test_only_who_can_tell_is_sent_the_same_write_twice(
    mongod: Mongod, mongod_replica_set: Mongod
) -> None:
    for server in (mongod, mongod_replica_set):
        client = await connect(server.url)
        assert client.options.retry_writes == server.replica_set
        await client.close()


# The driver may swallow a cancellation, when it comes while a command is being sent.


@pytest.mark.parametrize("outcome", ["an answer", "a failure"])
async def test_a_cancellation_that_the_driver_swallows_is_not_lost(
    store: MongoTaskStore, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    assert store._opened
    reached = asyncio.Event()

    async def swallows(*_: object) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            reached.set()
            await asyncio.Event().wait()
        if outcome == "a failure":
            raise AutoReconnect("connection closed")
        return "id"

    monkeypatch.setattr(store._opened.creation, "create", swallows)
    creating = asyncio.create_task(store.create(make_task()))
    await reached.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    monkeypatch.undo()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.check()
    await store.check()


async def test_a_report_that_is_to_stay_less_goes_earlier(place: MongoPlace) -> None:
    store = await place.open()
    await store.put_report("job", "result.json", b"{}")
    await store.put_report("probe", "answer.json", b"[]", stay=timedelta(minutes=15))
    kept = {one["_id"]: one["put_at"] async for one in place.db.reports.find()}
    earlier = kept["job/result.json"] - kept["probe/answer.json"]
    assert REPORTS_STAY - timedelta(minutes=16) < earlier < REPORTS_STAY - timedelta(minutes=14)
    assert await store.read_report("probe", "answer.json") == b"[]"
