"""What lists and live views need: small rows, counts by state, what has changed, and who is told of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tesp_api.store.base import Changes, Job, Task, TaskQuery, TaskStore
from tesp_api.tes.ids import first_id_at
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver, FakeClock, StoreKind
from tests.factories import make_task

S = State


@pytest.fixture(autouse=True)
def _counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted is asked for again at once."""
    monkeypatch.setattr("tesp_api.store.mongo_counts._FRESH_S", 0.0)
    monkeypatch.setattr("tesp_api.store.mongo_counts._CENSUS_FRESH_S", 0.0)
    monkeypatch.setattr("tesp_api.store.mongo_counting._COSTS", 0)


async def end(store: TaskStore, runner: Driver, task: Task, to: State = S.SYSTEM_ERROR) -> None:
    """See a new task to its end, at a destination."""
    claim = await runner.take(task)
    begun = Changes(attempt=1, job=Job("cluster", task.id))
    await store.transition(task.id, S.INITIALIZING, claim=claim, reason="", changes=begun)
    if to is S.COMPLETE:
        await store.transition(task.id, S.RUNNING, claim=claim, reason="")
    await store.transition(task.id, to, claim=claim, reason="")
    await store.retire(claim)


async def test_rows_are_small_and_in_order(store: TaskStore, runner: Driver, clock: FakeClock) -> None:
    tags = {"a": "1", "žluť\0": "\ud800"}
    inputs = [{"path": "/i", "content": "x" * 1000}]
    ended = make_task(name="ended \ud800", owner="alice", tags=tags, inputs=inputs)
    await end(store, runner, ended)
    plain = make_task(request={"executors": [{"image": "alpine", "command": ["x"]}]})
    await store.create(plain)
    first, second = await store.read_listed([plain.id, "no-such-task", ended.id])
    assert (first.id, first.name, first.tags, first.image) == (plain.id, "", {}, "alpine")
    assert (first.state, first.attempt, first.destination, first.ended_at) == (S.QUEUED, 0, "", None)
    assert (second.id, second.owner, second.name, second.tags) == (ended.id, "alice", "ended \ud800", tags)
    assert (second.state, second.attempt, second.destination) == (S.SYSTEM_ERROR, 1, "cluster")
    assert second.ended_at == clock.moment and second.created_at == ended.created_at
    assert second.image == "docker.io/library/alpine:3.20"
    assert await store.read_listed([]) == []


async def test_many_rows_at_once(store: TaskStore) -> None:
    made = [make_task(name=str(number)) for number in range(1200)]
    await asyncio.gather(*(store.create(task) for task in made))
    rows = await store.read_listed([task.id for task in made])
    assert [row.name for row in rows] == [str(number) for number in range(1200)]


async def test_large_documents_end_the_rows_or_are_left_out_of_them(store: TaskStore) -> None:
    inputs = [{"path": "/i", "content": "x" * 9_000_000}]
    made = [make_task(inputs=inputs) for _ in range(3)]
    for task in made:
        await store.create(task)
    left = [task.id for task in made]
    while left:
        rows = await store.read_listed(left)
        assert [row.id for row in rows] == left[: len(rows)]
        assert rows
        left = left[len(rows) :]


async def listed(store: TaskStore, **query: Any) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    after = None
    for _ in range(100):
        page = await store.list_states(TaskQuery(**query, after=after, page_size=2))
        found += [task_id for task_id, _ in page.items]
        after = page.next_token
        if after is None:
            return found
    raise AssertionError("the list has no end")


async def test_lists_by_destination(store: TaskStore, runner: Driver) -> None:
    gone = [make_task(name="x", owner=owner, tags={"k": "v"}) for owner in ("alice", "bob", "alice")]
    for task in gone:
        await end(store, runner, task)
    other = make_task(name="x", owner="alice", tags={"k": "v"})
    claim = await runner.take(other)
    await store.update(other.id, Changes(attempt=1, job=Job("elsewhere", "j")), claim=claim)
    await store.create(make_task(name="x", owner="alice"))
    ids = [task.id for task in reversed(gone)]
    assert await listed(store, destination="cluster") == ids
    assert await listed(store, destination="elsewhere") == [other.id]
    assert await listed(store, destination="nowhere") == []
    assert await listed(store, destination="cluster", owner="alice") == [ids[0], ids[2]]
    assert await listed(store, destination="cluster", states=frozenset({S.SYSTEM_ERROR})) == ids
    assert await listed(store, destination="cluster", states=frozenset({S.QUEUED})) == []
    assert await listed(store, destination="cluster", tags=(("k", "v"),), name_prefix="x") == ids
    assert await listed(store, destination="elsewhere", tags=(("k", ""),), owner="bob") == []


async def test_lists_by_time(store: TaskStore) -> None:
    began = datetime(2026, 3, 1, tzinfo=UTC)
    moments = [began + timedelta(hours=number) for number in range(8)]
    made = [
        make_task(id=f"{first_id_at(at)}-7000-8000-{number:012x}", created_at=at, tags={"n": str(number % 2)})
        for number, at in enumerate(moments)
    ]
    for task in made:
        await store.create(task)
    ids = [task.id for task in made]
    for first in range(9):
        for beyond in range(9):
            bounds: dict[str, Any] = {
                "created_from": moments[first] if first < 8 else moments[7] + timedelta(hours=1),
                "created_before": moments[beyond] if beyond < 8 else None,
            }
            assert await listed(store, **bounds) == ids[first:beyond][::-1]
            odd = [task.id for task in made[first:beyond] if task.request["tags"]["n"] == "1"]
            assert await listed(store, **bounds, tags=(("n", "1"),), owner="") == odd[::-1]


async def counted(store: TaskStore, owner: str | None, *groups: str) -> dict[str, int]:
    return {str(state): count for state, count in (await store.counts(owner, groups)).items()}


async def test_counts_follow_the_transitions(store: TaskStore, runner: Driver, clock: FakeClock) -> None:
    assert await store.counts(None) == {}
    for owner in ("alice", "bob"):
        await store.create(make_task(owner=owner))
    assert await counted(store, None) == {"QUEUED": 2}
    task = make_task(owner="alice")
    claim = await runner.take(task)
    begun = Changes(attempt=1, job=Job("cluster", "j"))
    await store.transition(task.id, S.INITIALIZING, claim=claim, reason="", changes=begun)
    assert await counted(store, "alice") == {"QUEUED": 1, "INITIALIZING": 1}
    clock.advance(60)  # what ended is counted once it is a while ago, and not again
    await store.transition(task.id, S.RUNNING, claim=claim, reason="")
    assert await counted(store, None) == {"QUEUED": 2, "RUNNING": 1}
    await store.transition(task.id, S.COMPLETE, claim=claim, reason="")
    assert await counted(store, "alice") == {"QUEUED": 1, "COMPLETE": 1}
    clock.advance(60)
    assert await counted(store, "alice") == {"QUEUED": 1, "COMPLETE": 1}
    await store.retire(claim)
    assert await counted(store, None) == {"QUEUED": 2, "COMPLETE": 1}
    await store.create(task)  # a second time: it is there
    assert await counted(store, None) == {"QUEUED": 2, "COMPLETE": 1}
    await store.request_cancel((await store.list_states(TaskQuery(owner="bob"))).items[0][0], "")
    assert await counted(store, "bob") == {"CANCELING": 1}
    await store.delete(task.id)
    assert await counted(store, None) == {"QUEUED": 1, "CANCELING": 1}
    assert await counted(store, "carol") == {}


async def test_counts_of_groups(store: TaskStore) -> None:
    shares = [("alice", ()), ("alice", ("lab",)), ("bob", ("lab", "all")), ("bob", ("other",)), ("carol", ())]
    for owner, groups in shares:
        await store.create(make_task(owner=owner, groups=groups))
    seen: list[tuple[str | None, tuple[str, ...], int]] = [
        ("alice", (), 2),
        ("alice", ("lab",), 3),
        ("alice", ("lab", "all"), 3),
        ("dave", ("lab",), 2),
        ("dave", ("all", "other"), 2),
        ("dave", (), 0),
        (None, (), 5),
    ]
    for who, theirs, count in seen:
        assert (await counted(store, who, *theirs)).get("QUEUED", 0) == count, (who, theirs)


async def test_counts_are_right_after_a_restart(
    handle: Callable[[], TaskStore], store: TaskStore, runner: Driver
) -> None:
    await end(store, runner, make_task(owner="alice"), S.COMPLETE)
    await store.create(make_task(owner="alice"))
    await store.aclose()
    again = handle()
    await again.open()
    try:
        assert await counted(again, "alice") == await counted(again, None) == {"QUEUED": 1, "COMPLETE": 1}
    finally:
        await again.aclose()


async def test_many_at_once_are_counted(store: TaskStore, runner: Driver) -> None:
    made = [make_task(owner="alice") for _ in range(60)]
    await asyncio.gather(*(store.create(task) for task in made))
    claims = {task.id: task.claim for task in await runner.claim()}

    async def move(task: Task, number: int) -> None:
        claim = claims[task.id]
        assert claim is not None
        for state in (S.INITIALIZING, S.RUNNING, S.COMPLETE)[: number % 4]:
            await store.transition(task.id, state, claim=claim, reason="")

    await asyncio.gather(*(move(task, number) for number, task in enumerate(made)))
    assert await counted(store, None) == {"QUEUED": 15, "INITIALIZING": 15, "RUNNING": 15, "COMPLETE": 15}


async def changed(store: TaskStore, cursor: str | None) -> tuple[dict[str, tuple[State, int]], str]:
    recent = await store.recent_changes(cursor)
    assert not recent.missed
    return {one.task_id: (one.state, one.attempt) for one in recent.changes}, recent.cursor


async def test_changes_are_told(store: TaskStore, runner: Driver, clock: FakeClock) -> None:
    old = make_task(created_at=clock.moment)
    await store.create(old)
    clock.advance(60)
    nothing, cursor = await changed(store, None)
    assert nothing == {}
    task = make_task(owner="alice", groups=("lab",), created_at=clock.moment)
    claim = await runner.take(task)
    told, cursor = await changed(store, cursor)
    assert told == {task.id: (S.QUEUED, 0)}
    clock.advance(60)
    begun = Changes(attempt=1, job=Job("cluster", "j"))
    await store.transition(task.id, S.INITIALIZING, claim=claim, reason="", changes=begun)
    await store.transition(task.id, S.RUNNING, claim=claim, reason="")
    await store.request_cancel(old.id, "")
    recent = await store.recent_changes(cursor)
    assert {one.task_id for one in recent.changes} == {task.id, old.id}
    of_task = next(one for one in recent.changes if one.task_id == task.id)
    assert (of_task.state, of_task.attempt, of_task.at) == (S.RUNNING, 1, clock.moment)
    assert (of_task.owner, tuple(of_task.groups)) == ("alice", ("lab",))
    clock.advance(60)
    _, cursor = await changed(store, recent.cursor)
    assert (await changed(store, cursor))[0] == {}
    await store.transition(old.id, S.CANCELED, claim=await held(store, old), reason="")
    await store.transition(task.id, S.COMPLETE, claim=claim, reason="")
    await store.retire(claim)
    await store.delete(task.id)
    assert set((await changed(store, cursor))[0]) == {old.id}


async def held(store: TaskStore, task: Task) -> Any:
    return (await store.get(task.id)).claim


async def test_a_cursor_of_elsewhere_has_missed_something(store: TaskStore) -> None:
    for cursor in ("", "x", "0123.1", "-5", "9" * 30):
        recent = await store.recent_changes(cursor)
        assert recent.missed and not recent.changes
        assert not (await store.recent_changes(recent.cursor)).missed


@pytest.fixture
async def other(
    kind: StoreKind, handle: Callable[[], TaskStore], store: TaskStore
) -> AsyncIterator[TaskStore]:
    """Another server of the same database."""
    if not kind.shared:
        pytest.skip("this store has one server")
    opened = handle()
    await opened.open()
    yield opened
    await opened.aclose()


async def test_changes_and_counts_of_other_servers(
    store: TaskStore, other: TaskStore, clock: FakeClock, runner: Driver
) -> None:
    _, cursor = await changed(store, None)
    task = make_task(created_at=clock.moment)
    await other.create(task)
    assert (await changed(store, cursor))[0] == {task.id: (S.QUEUED, 0)}
    assert await counted(store, None) == await counted(other, None) == {"QUEUED": 1}
    await other.request_cancel(task.id, "")
    assert (await changed(store, cursor))[0] == {task.id: (S.CANCELING, 0)}
    assert await counted(store, None) == {"CANCELING": 1}


async def test_every_write_that_clients_see_is_news(store: TaskStore, runner: Driver) -> None:
    rung: list[str] = []
    store.news.listen(rung.append)

    def of(task_id: str) -> bool:
        heard, rung[:] = list(rung), []
        return heard != [] and set(heard) == {task_id}

    task = make_task()
    claim = await runner.take(task)
    assert of(task.id)
    begun = Changes(attempt=1, job=Job("cluster", "j"))
    await store.transition(task.id, S.INITIALIZING, claim=claim, reason="", changes=begun)
    assert of(task.id)
    await store.update(task.id, Changes(log={"logs": [], "outputs": []}), claim=claim)
    assert of(task.id)
    await store.append_log(claim, 1, 0, "stdout", 0, b"hello")
    assert of(task.id)
    await store.request_cancel(task.id, "")
    assert of(task.id)
    await store.transition(task.id, S.CANCELED, claim=claim, reason="")
    await store.retire(claim)
    assert of(task.id)
    await store.delete(task.id)
    assert of(task.id)


async def test_the_oldest_task_that_is_queued(store: TaskStore, runner: Driver) -> None:
    assert await store.oldest_queued() is None
    first, second, third = (make_task(owner=owner) for owner in ("bob", "alice", "bob"))
    for task in (third, first, second):
        await store.create(task)
    assert await store.oldest_queued() == first.id
    await end(store, runner, first)
    assert await store.oldest_queued() == second.id
    for task in (second, third):
        await store.request_cancel(task.id, "")
    assert await store.oldest_queued() is None
