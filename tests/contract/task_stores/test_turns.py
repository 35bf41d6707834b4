"""Whose tasks are claimed: users take turns, each with their oldest first."""

import asyncio
from collections import Counter

from tesp_api.store.base import Task, TaskStore
from tesp_api.store.turns import EQUAL_SHARES, Shares
from tests.contract.task_stores.conftest import Driver, FakeClock
from tests.factories import make_task


async def queue(store: TaskStore, *owners: str) -> list[Task]:
    """A task of each of these owners, the oldest first."""
    tasks = [make_task(owner=owner) for owner in owners]
    await asyncio.gather(*(store.create(task) for task in tasks))
    return tasks


async def claim(store: TaskStore, limit: int, shares: Shares = EQUAL_SHARES) -> list[Task]:
    return await store.claim("runner", lease_s=60, new_limit=limit, shares=shares)


def owners_of(tasks: list[Task]) -> dict[str, int]:
    return dict(Counter(task.owner for task in tasks))


async def test_one_users_queue_does_not_fill_a_claim(store: TaskStore) -> None:
    tasks = await queue(store, *["alice"] * 60, "bob", "carol")
    assert owners_of(await claim(store, 6)) == {"alice": 4, "bob": 1, "carol": 1}
    assert [task.id for task in await claim(store, 3)] == [task.id for task in tasks[4:7]]


async def test_who_has_less_comes_first(store: TaskStore) -> None:
    await queue(store, *["alice"] * 9, *["bob"] * 9)
    assert owners_of(await claim(store, 6, Shares({"alice": 4}))) == {"alice": 1, "bob": 5}
    assert owners_of(await claim(store, 2, Shares({"bob": 100}))) == {"alice": 2}


async def test_each_users_tasks_come_oldest_first_and_of_equals_who_waits_longest(store: TaskStore) -> None:
    tasks = await queue(store, "bob", "alice", "bob", "alice")
    for task in tasks:
        assert [one.id for one in await claim(store, 1)] == [task.id]


async def test_of_equals_whose_turn_was_longest_ago_comes_first(store: TaskStore) -> None:
    await queue(store, "alice", "bob", "carol")
    shares = Shares(served={"alice": 8, "bob": 7})
    assert [list(owners_of(await claim(store, 1, shares))) for _ in range(3)] == [
        ["carol"],
        ["bob"],
        ["alice"],
    ]


async def test_nobody_gets_more_than_there_is_room_for(store: TaskStore) -> None:
    await queue(store, *["alice"] * 5, *["bob"] * 5, *["carol"] * 5)
    shares = Shares(room={"alice": 0, "bob": 2}, others_room=3)
    assert owners_of(await claim(store, 100, shares)) == {"bob": 2, "carol": 3}
    assert owners_of(await claim(store, 100)) == {"alice": 5, "bob": 3, "carol": 2}


async def test_expired_claims_of_many_do_not_hide_anothers(store: TaskStore, clock: FakeClock) -> None:
    """A server that dies while it holds a user's long queue."""
    await queue(store, *["alice"] * 30)
    await Driver(store, "dead").claim(lease_s=10)
    await queue(store, "bob")
    clock.advance(10)
    assert owners_of(await claim(store, 2)) == {"alice": 1, "bob": 1}
    assert owners_of(await claim(store, 100)) == {"alice": 29}


async def test_several_runners_share_all_users_queues(store: TaskStore) -> None:
    tasks = await queue(store, *["alice", "bob", "carol"] * 20)
    runners = [Driver(store, f"runner-{number}") for number in range(3)]
    claims = await asyncio.gather(*(one.claim(new_limit=4) for _ in range(6) for one in runners))
    assert sorted(task.id for some in claims for task in some) == [task.id for task in tasks]
