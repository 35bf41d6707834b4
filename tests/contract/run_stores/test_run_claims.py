"""Claims of runs: one server expands a run, and another takes over when its lease ends."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tesp_api.errors import ClaimLost
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import Run, RunStore, RunToDo
from tesp_api.tes.states import State
from tests.contract.run_stores.conftest import runs_of
from tests.contract.run_stores.test_runs import end, step_of, take
from tests.contract.task_stores.conftest import FakeClock, StoreKind
from tests.factories import make_run


async def test_a_run_is_claimed_once(runs: RunStore, run: Run) -> None:
    [claimed] = await runs.claim("a", lease_s=60, new_limit=9)
    assert claimed.claim is not None
    assert (claimed.claim.task_id, claimed.claim.owner, claimed.claim.epoch) == (run.id, "a", 1)
    assert await runs.claim("b", lease_s=60, new_limit=9) == []
    assert await runs.held("a") == {run.id: State.QUEUED}


async def test_new_ones_are_limited_and_others_not(runs: RunStore) -> None:
    made = [make_run() for _ in range(4)]
    for run in made:
        await runs.create(run)
    assert await runs.claim("a", lease_s=60, new_limit=0) == []
    await runs.request_cancel(made[3].id, "why")
    claimed = await runs.claim("a", lease_s=60, new_limit=2)
    assert [run.id for run in claimed] == [made[0].id, made[1].id, made[3].id]


async def test_runs_of_engines_that_are_missing_are_left(runs: RunStore) -> None:
    waiting, taken, canceled = make_run(), make_run(engine="other"), make_run()
    for run in (waiting, taken, canceled):
        await runs.create(run)
    await runs.request_cancel(canceled.id, "why")
    claimed = await runs.claim("a", lease_s=60, new_limit=1, without={waiting.engine})
    assert [run.id for run in claimed] == [taken.id, canceled.id]
    assert [run.id for run in await runs.claim("b", lease_s=60, new_limit=9)] == [waiting.id]


async def test_runs_whose_files_are_elsewhere_are_left(runs: RunStore) -> None:
    here, near, away, canceled, doomed = (make_run() for _ in range(5))
    near = replace(near, work_url=f"file:///work/{near.id}/x/")
    away, canceled, doomed = (
        replace(run, work_url=f"s3://lab/$runs/{run.id}/") for run in (away, canceled, doomed)
    )
    for run in (here, near, away, canceled, doomed):
        await runs.create(run)
    await end(runs, doomed)
    await runs.release("server")
    await runs.doom(doomed.id)
    await runs.request_cancel(canceled.id, "why")
    taken = await runs.claim("server", lease_s=60, new_limit=9, base_url="file:///work/")
    assert [run.id for run in taken] == [here.id, canceled.id]
    both = await runs.claim("other", lease_s=60, new_limit=0, base_url="s3://lab/$runs/", without=["script"])
    assert [run.id for run in both] == [doomed.id]
    there = await runs.claim("other", lease_s=60, new_limit=9, base_url="s3://lab/$runs/")
    assert [run.id for run in there] == [away.id]
    assert [run.id for run in await runs.claim("other", lease_s=60, new_limit=9)] == [near.id]


async def test_what_is_to_do_is_listed(runs: RunStore, run: Run, clock: FakeClock) -> None:
    ended, doomed, waiting = make_run(), make_run(), make_run(engine="other")
    for one in (ended, doomed, waiting):
        await runs.create(one)
        if one is not waiting:
            await end(runs, one)
            await runs.release("server")
    await runs.doom(doomed.id)
    await runs.claim("server", lease_s=60, new_limit=1, without=["other"])
    shown = await runs.list_to_do(limit=9)
    assert shown == [
        RunToDo(run.id, State.QUEUED, "script", run.work_url, is_claimed=True, doomed=False),
        RunToDo(doomed.id, State.COMPLETE, "script", doomed.work_url, is_claimed=True, doomed=True),
        RunToDo(waiting.id, State.QUEUED, "other", waiting.work_url, is_claimed=False, doomed=False),
    ]
    clock.advance(60)
    assert [one.is_claimed for one in await runs.list_to_do(limit=2)] == [False, False]


async def test_what_nobody_holds_is_told_once(runs: RunStore, run: Run, clock: FakeClock) -> None:
    assert await runs.tell_unclaimed(run.id, "waits $for \ud800")
    assert not await runs.tell_unclaimed(run.id, "waits $for \ud800")
    await runs.claim("server", lease_s=60, new_limit=1)
    assert not await runs.tell_unclaimed(run.id, "is held")
    clock.advance(60)
    assert await runs.tell_unclaimed(run.id, "is held no more")
    assert not await runs.tell_unclaimed("no-such-run", "a")
    assert (await runs.get(run.id)).system_logs == ("waits $for \\ud800", "is held no more")


async def test_users_take_turns(runs: RunStore) -> None:
    of_alice = [make_run(owner="alice") for _ in range(6)]
    for run in of_alice:
        await runs.create(run)
    assert len(await runs.claim("a", lease_s=60, new_limit=3)) == 3
    later = [make_run(owner=owner) for owner in ("bob", "bob", "carol")]
    for run in later:
        await runs.create(run)
    claimed = await runs.claim("b", lease_s=60, new_limit=3)
    assert [run.id for run in claimed] == [run.id for run in later]
    rest = await runs.claim("a", lease_s=60, new_limit=9)
    assert [run.id for run in rest] == [run.id for run in of_alice[3:]]


async def test_the_last_places_are_for_users_who_have_none(runs: RunStore) -> None:
    of_alice = [make_run(owner="alice") for _ in range(6)]
    for run in of_alice:
        await runs.create(run)
    claimed = await runs.claim("a", lease_s=60, new_limit=4, reserved=2)
    assert [run.id for run in claimed] == [run.id for run in of_alice[:2]]
    assert await runs.claim("a", lease_s=60, new_limit=2, reserved=2) == []
    later = [make_run(owner=owner) for owner in ("bob", "bob", "carol", "dave")]
    for run in later:
        await runs.create(run)
    claimed = await runs.claim("a", lease_s=60, new_limit=2, reserved=2)
    assert [run.id for run in claimed] == [later[0].id, later[2].id]
    claimed = await runs.claim("b", lease_s=60, new_limit=4, reserved=1)
    assert [run.id for run in claimed] == [of_alice[2].id, later[1].id, later[3].id]


async def test_what_has_begun_counts_for_its_user(runs: RunStore, run: Run) -> None:
    claim = await take(runs, run.id)
    await runs.transition(run.id, State.INITIALIZING, claim=claim)
    await runs.release("server")
    second, other = make_run(owner=run.owner), make_run(owner="bob")
    for new in (second, other):
        await runs.create(new)
    claimed = await runs.claim("a", lease_s=60, new_limit=1)
    assert [one.id for one in claimed] == [run.id, other.id]


async def test_a_lease_ends_at_its_end(runs: RunStore, run: Run, clock: FakeClock) -> None:
    old = await take(runs, run.id, "a")
    clock.advance(59.999)
    assert await runs.claim("b", lease_s=60, new_limit=9) == []
    clock.advance(0.001)
    new = await take(runs, run.id, "b")
    assert new.epoch == 2
    for stale in (
        runs.transition(run.id, State.INITIALIZING, claim=old),
        runs.tell("line", claim=old),
        runs.append_log("stdout", b"x", claim=old),
        runs.put_step(step_of(run, "a"), claim=old),
        runs.replace_step(step_of(run, "a"), claim=old),
        runs.remove(claim=old),
    ):
        with pytest.raises(ClaimLost):
            await stale
    assert (await runs.get(run.id)).state is State.QUEUED
    assert await runs.list_steps(run.id, limit=9) == []


async def test_a_renewed_lease_holds_for_the_runs_named(runs: RunStore, clock: FakeClock) -> None:
    kept, forgotten = make_run(), make_run()
    for run in (kept, forgotten):
        await runs.create(run)
    await runs.claim("a", lease_s=60, new_limit=9)
    clock.advance(50)
    await runs.renew("a", [kept.id], lease_s=60)
    clock.advance(20)
    assert [run.id for run in await runs.claim("b", lease_s=60, new_limit=9)] == [forgotten.id]
    assert set(await runs.held("a")) == {kept.id}
    await runs.renew("a", [kept.id, forgotten.id], lease_s=600)
    assert set(await runs.held("b")) == {forgotten.id}


async def test_what_is_released_is_free_at_once(runs: RunStore, run: Run) -> None:
    old = await take(runs, run.id, "a")
    await runs.release("a")
    assert (await take(runs, run.id, "b")).epoch == old.epoch + 1


async def test_an_embedded_store_voids_claims_when_it_is_opened(
    tasks: TaskStore, handle: Callable[[], TaskStore], kind: StoreKind
) -> None:
    if kind.shared:
        pytest.skip("others may live")
    run = make_run()
    await runs_of(tasks).create(run)
    await take(runs_of(tasks), run.id)
    await tasks.aclose()
    again = handle()
    await again.open()
    try:
        assert (await take(runs_of(again), run.id)).epoch == 2
    finally:
        await again.aclose()


async def test_servers_share_a_database(
    runs: RunStore, handle: Callable[[], TaskStore], kind: StoreKind, run: Run
) -> None:
    if not kind.shared:
        pytest.skip("one server owns it")
    other = handle()
    await other.open()
    try:
        await take(runs, run.id, "a")
        assert await runs_of(other).claim("b", lease_s=60, new_limit=9) == []
        assert (await runs_of(other).get(run.id)).claim is not None
    finally:
        await other.aclose()
