"""Creation under a key: requests with the same key make one run."""

import asyncio

import pytest

from tesp_api.errors import KeyReused, LimitReached, RunNotFound
from tesp_api.store.base import OnceKey
from tesp_api.store.runs import RunQuery, RunStore
from tesp_api.tes.states import State
from tests.contract.run_stores.test_runs import end
from tests.factories import make_run

KEY = OnceKey("key-1", "digest-1")


async def ids(runs: RunStore) -> list[str]:
    return [run.id for run in (await runs.list_runs(RunQuery())).items]


async def test_without_a_key_a_run_gets_its_own_id(runs: RunStore) -> None:
    made = [make_run(), make_run()]
    assert [await runs.create(run) for run in made] == [run.id for run in made]


@pytest.mark.parametrize("live_max", [None, 1])
async def test_the_same_key_and_body_give_the_first_run(runs: RunStore, live_max: int | None) -> None:
    first, again = make_run(), make_run()
    assert await runs.find_once("alice", KEY) is None
    assert await runs.create(first, once=KEY, live_max=live_max) == first.id
    assert await runs.find_once("alice", KEY) == first.id
    assert await runs.create(again, once=KEY, live_max=live_max) == first.id
    assert await runs.get(first.id) == first
    with pytest.raises(RunNotFound):
        await runs.get(again.id)
    assert await ids(runs) == [first.id]


async def test_another_body_under_the_same_key_is_refused(runs: RunStore) -> None:
    first, other = make_run(), make_run()
    await runs.create(first, once=KEY)
    changed = OnceKey(KEY.key, "digest-2")
    for answer in (runs.create(other, once=changed), runs.find_once("alice", changed)):
        with pytest.raises(KeyReused, match="'key-1' was used for another run"):
            await answer
    assert await ids(runs) == [first.id]


async def test_keys_of_different_owners_are_different(runs: RunStore) -> None:
    alice, bob = make_run(owner="alice"), make_run(owner="bob")
    assert await runs.create(alice, once=KEY) == alice.id
    assert await runs.find_once("bob", OnceKey(KEY.key, "of bob")) is None
    assert await runs.create(bob, once=OnceKey(KEY.key, "of bob")) == bob.id


@pytest.mark.parametrize("live_max", [None, 1, 99])
async def test_of_callers_at_the_same_time_one_creates(runs: RunStore, live_max: int | None) -> None:
    made = [make_run() for _ in range(20)]
    answers = await asyncio.gather(*(runs.create(run, once=KEY, live_max=live_max) for run in made))
    assert len(set(answers)) == 1
    assert await ids(runs) == [answers[0]]
    assert len(await runs.claim("server", lease_s=60, new_limit=9)) == 1


async def test_a_run_that_was_refused_leaves_its_key_free(runs: RunStore) -> None:
    busy, refused = make_run(), make_run()
    await runs.create(busy)
    with pytest.raises(LimitReached):
        await runs.create(refused, once=KEY, live_max=1)
    with pytest.raises(RunNotFound):
        await runs.create(make_run(uses=("no-such-run",)), once=KEY)
    assert await runs.find_once("alice", KEY) is None
    assert await runs.create(refused, once=KEY, live_max=2) == refused.id


@pytest.mark.parametrize("text", ["", "a\x00b", "Ž 🐎", "'; DROP TABLE runs; --", "k" * 5000, "\ud800"])
async def test_a_key_may_be_any_text(runs: RunStore, text: str) -> None:
    first, other = make_run(), make_run()
    await runs.create(first, once=OnceKey(text, "d"))
    assert await runs.create(make_run(), once=OnceKey(text, "d")) == first.id
    assert await runs.create(other, once=OnceKey(text + "x", "d")) == other.id


async def test_a_key_is_remembered_until_its_run_is_deleted(runs: RunStore) -> None:
    first, second, third = make_run(), make_run(), make_run()
    await runs.create(first, once=KEY)
    await end(runs, first)
    assert (await runs.get(first.id)).state is State.COMPLETE
    assert await runs.create(second, once=KEY) == first.id
    await runs.doom(first.id)
    assert await runs.find_once("alice", KEY) is None
    assert await runs.create(second, once=OnceKey(KEY.key, "another body")) == second.id
    [doomed] = [one for one in await runs.claim("server", lease_s=60, new_limit=0) if one.doomed]
    assert doomed.claim is not None
    await runs.remove(claim=doomed.claim)
    assert await runs.find_once("alice", OnceKey(KEY.key, "another body")) == second.id
    with pytest.raises(KeyReused):
        await runs.create(third, once=KEY)
