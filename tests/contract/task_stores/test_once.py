"""Creation under a key: requests with the same key make one task."""

import asyncio

import pytest

from tesp_api.errors import KeyReused, TaskNotFound
from tesp_api.store.base import OnceKey, Task, TaskQuery, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver
from tests.factories import make_task

KEY = OnceKey("key-1", "digest-1")


async def count(store: TaskStore) -> int:
    return len((await store.list_states(TaskQuery())).items)


async def test_without_a_key_a_task_gets_its_own_id(store: TaskStore) -> None:
    made = [make_task(), make_task()]
    assert [await store.create(task) for task in made] == [task.id for task in made]
    assert await count(store) == 2


async def test_the_same_key_and_body_give_the_first_task(store: TaskStore) -> None:
    first = make_task(name="first")
    assert await store.create(first, once=KEY) == first.id
    again = make_task(name="again", tags={"of": "again"})
    assert await store.create(again, once=KEY) == first.id
    assert await store.create(first, once=KEY) == first.id
    assert await store.get(first.id) == first
    with pytest.raises(TaskNotFound):
        await store.get(again.id)
    assert await count(store) == 1
    assert (await store.list_states(TaskQuery(tags=(("of", ""),)))).items == []


async def test_of_callers_at_the_same_time_one_creates(store: TaskStore) -> None:
    made = [make_task() for _ in range(20)]
    answers = await asyncio.gather(*(store.create(task, once=KEY) for task in made))
    assert len(set(answers)) == 1
    assert (await store.list_states(TaskQuery())).items == [(answers[0], State.QUEUED)]


async def test_another_body_under_the_same_key_is_refused(store: TaskStore) -> None:
    first, other = make_task(), make_task()
    await store.create(first, once=KEY)
    with pytest.raises(KeyReused, match="key-1"):
        await store.create(other, once=OnceKey("key-1", "digest-2"))
    with pytest.raises(TaskNotFound):
        await store.get(other.id)
    assert await store.create(other, once=KEY) == first.id


async def test_of_different_bodies_at_the_same_time_one_is_created(store: TaskStore) -> None:
    made = [make_task() for _ in range(10)]
    tries = (store.create(task, once=OnceKey("key", f"digest-{number}")) for number, task in enumerate(made))
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(answer, KeyReused) for answer in answers) == 9
    assert await count(store) == 1


async def test_keys_of_different_owners_are_different(store: TaskStore) -> None:
    alice, bob = make_task(owner="alice"), make_task(owner="bob")
    assert await store.create(alice, once=KEY) == alice.id
    assert await store.create(bob, once=OnceKey(KEY.key, "of bob")) == bob.id


@pytest.mark.parametrize("text", ["", "a\x00b", "Ž 🐎", "'; DROP TABLE once_keys; --", "k" * 5000, "\ud800"])
async def test_a_key_may_be_any_text(store: TaskStore, text: str) -> None:
    first = make_task()
    await store.create(first, once=OnceKey(text, "d"))
    assert await store.create(make_task(), once=OnceKey(text, "d")) == first.id
    other = make_task()
    assert await store.create(other, once=OnceKey(text + "x", "d")) == other.id
    with pytest.raises(KeyReused):
        await store.create(make_task(), once=OnceKey(text, "D"))


async def test_a_known_id_counts_as_created_and_takes_no_key(store: TaskStore, task: Task) -> None:
    assert await store.create(task, once=KEY) == task.id
    other = make_task()
    assert await store.create(other, once=KEY) == other.id


async def test_a_key_is_remembered_while_its_task_is_stored(store: TaskStore, runner: Driver) -> None:
    first, second = make_task(), make_task()
    await store.create(first, once=KEY)
    claim = await runner.take_stored(first.id)
    await store.transition(first.id, State.CANCELED, claim=claim, reason="over")
    await store.retire(claim)
    assert await store.create(second, once=KEY) == first.id
    await store.delete(first.id)
    assert await store.create(second, once=OnceKey(KEY.key, "another body")) == second.id
    assert await count(store) == 1
