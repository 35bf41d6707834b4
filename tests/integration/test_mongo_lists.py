"""How MongoDB answers: what its profiler says about each query that a list, a get and a claim send."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tesp_api.store import mongo_lists
from tesp_api.store.base import OnceKey, TaskQuery
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_documents import new_document
from tesp_api.store.page_token import token_after
from tesp_api.tes.states import State
from tests.factories import make_task
from tests.integration.mongo_stores import MongoPlace, mongo_place
from tests.services.mongod import Mongod

pytestmark = pytest.mark.services

TASKS = 3000
PAGE = 20
STRETCH = 100
HOT, ALL, EVEN = ("hot", "yes"), ("project", "all"), ("even", "yes")
RARE_STATE, STATES = frozenset({State.CANCELED}), frozenset({State.COMPLETE, State.CANCELED})

Profile = list[dict[str, Any]]


class Profiled:
    """A store with 3,000 tasks that have ended, and what the server did to answer it."""

    def __init__(self, place: MongoPlace, store: MongoTaskStore) -> None:
        self.place, self.store = place, store

    async def fill(self) -> None:
        """Each 100th is hot, rare- and CANCELED; odd ones are of alice, even ones are tagged so."""
        documents = []
        for number in range(TASKS):
            hot = number % 100 == 0
            tags = dict([ALL, *([HOT] if hot else []), *([EVEN] if number % 2 == 0 else [])])
            owner = "alice" if number % 2 else "bob"
            name = f"{'rare' if hot else 'common'}-{number}"
            document = new_document(make_task(name=name, tags=tags, owner=owner), None)
            document |= {"state": "CANCELED" if hot else "COMPLETE", "live": False}
            documents.append(document)
        await self.place.db.tasks.insert_many(documents)

    async def profile(self, work: Callable[[], Awaitable[Any]]) -> tuple[Any, Profile]:
        db = self.place.db
        await db.command("profile", 2)
        answer = await work()
        await db.command("profile", 0)
        seen = await db.system.profile.find(
            {"ns": {"$in": [f"{db.name}.tasks", f"{db.name}.log_chunks"]}}
        ).to_list()
        await db.system.profile.drop()
        return answer, seen


@pytest.fixture
async def profiled(mongod: Mongod, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Profiled]:
    monkeypatch.setattr(mongo_lists, "_LEAST_STRETCH", STRETCH)
    async with mongo_place(mongod) as place:
        yield Profiled(place, await place.open())


@pytest.fixture
async def filled(profiled: Profiled) -> Profiled:
    await profiled.fill()
    return profiled


def keys(profile: Profile) -> int:
    return sum(seen["keysExamined"] for seen in profile)


def documents(profile: Profile) -> int:
    return sum(seen["docsExamined"] for seen in profile)


COVERED = {
    "all": TaskQuery(page_size=PAGE),
    "tag": TaskQuery(tags=(HOT,), page_size=PAGE),
    "key": TaskQuery(tags=(("project", ""),), page_size=PAGE),
    "state": TaskQuery(states=RARE_STATE, page_size=PAGE),
    "states": TaskQuery(states=STATES, page_size=PAGE),
    "owner": TaskQuery(owner="alice", page_size=PAGE),
    "owner, state": TaskQuery(owner="bob", states=RARE_STATE, page_size=PAGE),
    "nothing": TaskQuery(states=frozenset({State.RUNNING}), page_size=PAGE),
    "name": TaskQuery(name_prefix="rare-", page_size=PAGE),
    "tag, state": TaskQuery(tags=(HOT,), states=RARE_STATE, page_size=PAGE),
    "tag, owner": TaskQuery(tags=(HOT,), owner="bob", page_size=PAGE),
}
CHECKED = {
    "common name": TaskQuery(name_prefix="common-", page_size=PAGE),
    "tag, tag": TaskQuery(tags=(ALL, HOT), page_size=PAGE),
    "tag, key": TaskQuery(tags=(HOT, ("project", "")), page_size=PAGE),
    "tag, name": TaskQuery(tags=(HOT,), name_prefix="rare-", page_size=PAGE),
    "tag, common name": TaskQuery(tags=(ALL,), name_prefix="common-", page_size=PAGE),
    "common tags": TaskQuery(tags=(ALL, EVEN), page_size=PAGE),
    "state, name": TaskQuery(states=STATES, name_prefix="rare-", page_size=PAGE),
}
HARDLY_EVER = {
    "tag, owner": TaskQuery(tags=(EVEN,), owner="alice", page_size=PAGE),
    "tag, name": TaskQuery(tags=(EVEN,), name_prefix="common-1", owner="alice", page_size=PAGE),
    "state, name": TaskQuery(states=STATES, name_prefix="common-x", page_size=PAGE),
}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("query", COVERED.values(), ids=COVERED)
async def test_a_minimal_list_reads_no_documents(filled: Profiled, query: TaskQuery, later: bool) -> None:
    if later:
        first = await filled.store.list_states(query)
        query = TaskQuery(query.states, query.name_prefix, query.tags, query.owner, PAGE, first.next_token)
    page, profile = await filled.profile(lambda: filled.store.list_states(query))
    assert documents(profile) == 0
    assert {seen["planSummary"].split()[0] for seen in profile} == {"IXSCAN"}
    # One walk reads its page; where there are several, each is asked how far it reaches.
    walks = len(profile) - 1
    assert keys(profile) <= len(page.items) + 1 + 10 + walks * STRETCH + PAGE * (walks > 0)
    if walks == 0 and query.name_prefix == "":
        assert not any(seen.get("hasSortStage") for seen in profile)


@pytest.mark.parametrize("query", [*COVERED.values(), *CHECKED.values()], ids=[*COVERED, *CHECKED])
async def test_a_list_reads_few_documents_beside_those_that_it_shows(
    filled: Profiled, query: TaskQuery
) -> None:
    page, profile = await filled.profile(lambda: filled.store.list_tasks(query))
    assert page.items or query is COVERED["nothing"]
    assert documents(profile) <= 2 * (PAGE + 1)
    _, profile = await filled.profile(lambda: filled.store.list_states(query))
    assert documents(profile) <= 2 * (PAGE + 1)
    assert keys(profile) <= 4 * STRETCH


@pytest.mark.parametrize("query", HARDLY_EVER.values(), ids=HARDLY_EVER)
async def test_filters_that_hardly_ever_hold_together_end_the_page_early(
    filled: Profiled, query: TaskQuery
) -> None:
    seen, token, pages = 0, query.after, 0
    while pages == 0 or token is not None:
        turn = TaskQuery(query.states, query.name_prefix, query.tags, query.owner, PAGE, token)
        page, profile = await filled.profile(lambda turn=turn: filled.store.list_states(turn))  # type: ignore[misc]
        assert keys(profile) <= 5 * 4 * STRETCH
        assert documents(profile) <= 4 * STRETCH
        seen, token, pages = seen + len(page.items), page.next_token, pages + 1
    assert seen == 0
    assert pages <= TASKS / STRETCH


async def test_a_minimal_get_reads_no_document(filled: Profiled) -> None:
    ((task_id, state),) = (await filled.store.list_states(TaskQuery(page_size=1))).items
    answer, profile = await filled.profile(lambda: filled.store.get_state(task_id))
    assert answer == state
    assert (keys(profile), documents(profile)) == (1, 0)


async def test_a_late_page_costs_what_the_first_does(filled: Profiled) -> None:
    (oldest,) = await filled.place.db.tasks.find({}, {"_id": 1}).sort("_id", 1).skip(PAGE).limit(1).to_list()
    query = TaskQuery(page_size=PAGE - 1, after=token_after(oldest["_id"]))
    page, profile = await filled.profile(lambda: filled.store.list_states(query))
    assert len(page.items) == PAGE - 1
    assert keys(profile) <= PAGE + 1


async def test_claims_look_at_what_they_take(filled: Profiled) -> None:
    await filled.place.db.tasks.insert_many([new_document(make_task(), None) for _ in range(500)])
    claimed, profile = await filled.profile(lambda: filled.store.claim("runner", lease_s=60, new_limit=5))
    assert len(claimed) == 5
    assert documents(profile) <= 30
    assert keys(profile) <= 60
    again, profile = await filled.profile(lambda: filled.store.renew("runner", lease_s=60))
    assert len(again) == 5
    assert documents(profile) <= 5
    _, profile = await filled.profile(lambda: filled.store.claim("other", lease_s=60, new_limit=0))
    assert documents(profile) == 0
    canceled = next(iter(again))
    await filled.store.request_cancel(canceled, "stop")
    canceling, profile = await filled.profile(lambda: filled.store.list_canceling("runner"))
    assert canceling == {canceled}
    assert documents(profile) == 1
    assert keys(profile) <= 2


ONCE = OnceKey("k", "digest")
LATER = datetime(2100, 1, 1, tzinfo=UTC)
QUESTIONS: dict[str, Callable[[MongoTaskStore, str], Awaitable[Any]]] = {
    "create": lambda store, _: store.create(make_task(tags={"k": "v"})),
    "create once more": lambda store, _: store.create(make_task(owner="bob"), once=ONCE),
    "get": lambda store, task_id: store.get(task_id),
    "history": lambda store, task_id: store.history(task_id),
    "log": lambda store, task_id: store.read_log(task_id, 1, 0, "stdout", offset=-5, limit=5),
    "log size": lambda store, task_id: store.log_size(task_id, 1, 0, "stdout"),
    "cancel": lambda store, task_id: store.request_cancel(task_id, "why"),
    "delete": lambda store, task_id: store.delete(task_id),
    "purge": lambda store, _: store.purge(LATER, limit=2),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_apis_other_questions_look_at_what_they_are_about(filled: Profiled, question: str) -> None:
    tasks = filled.place.db.tasks
    await tasks.update_many({}, {"$set": {"ended_at": 1}})
    once = make_task(owner="bob")
    await filled.store.create(once, once=ONCE)
    over = (await tasks.find_one({"live": False}, {"_id": 1}) or {})["_id"]
    _, profile = await filled.profile(lambda: QUESTIONS[question](filled.store, over))
    assert profile
    for seen in profile:
        assert "COLLSCAN" not in seen.get("planSummary", "")
        assert seen.get("docsExamined", 0) <= 2, seen
        assert seen.get("keysExamined", 0) <= 4, seen
        assert not seen.get("hasSortStage"), seen


async def test_a_long_name_is_found_by_all_of_it(profiled: Profiled) -> None:
    store = profiled.store
    long = "é" * 1000
    made = [make_task(name=long + end) for end in ("a", "b", "ba")]
    for task in made:
        await store.create(task)
    await store.create(make_task(name=long[:200]))
    for prefix, expected in ((long, made), (long + "b", made[1:]), (long + "c", []), (long + "baz", [])):
        page = await store.list_tasks(TaskQuery(name_prefix=prefix))
        assert [task.id for task in page.items] == [task.id for task in reversed(expected)]


async def test_long_tags_are_found(profiled: Profiled) -> None:
    store = profiled.store
    task = make_task(tags={"k" * 100_000: "v" * 100_000})
    await store.create(task)
    for tag, found in (
        (("k" * 100_000, "v" * 100_000), 1),
        (("k" * 100_000, ""), 1),
        (("k" * 100_000, "v"), 0),
    ):
        assert len((await store.list_states(TaskQuery(tags=(tag,)))).items) == found
