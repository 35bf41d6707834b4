"""What every `RunStore` does, by itself: creation, lists, cancel, removal, logs, steps."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tesp_api.errors import InvalidRequest, LimitReached, RunInUse, RunNotFound, RunNotOver, TransitionRefused
from tesp_api.store.base import Claim
from tesp_api.store.runs import Run, RunEnd, RunQuery, RunStore, StepRecord
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import FakeClock
from tests.factories import make_run


async def take(runs: RunStore, run_id: str, owner: str = "server") -> Claim:
    """Claim a run that is free."""
    [claim] = [run.claim for run in await runs.claim(owner, lease_s=60, new_limit=1000) if run.id == run_id]
    assert claim is not None
    return claim


async def end(runs: RunStore, run: Run, state: State = State.COMPLETE, **parts: object) -> None:
    claim = await take(runs, run.id)
    await runs.transition(run.id, State.INITIALIZING, claim=claim)
    await runs.transition(run.id, State.RUNNING, claim=claim)
    await runs.transition(run.id, state, claim=claim, end=RunEnd(**parts))  # type: ignore[arg-type]


async def test_what_was_stored_is_read(runs: RunStore) -> None:
    for used in ("r1", "r2"):
        await runs.create(make_run(id=used))
    run = make_run(
        groups=("lab", "über"),
        params={"x": [1, {"$y": "a.b"}]},
        resumes="r1",
        uses=("r1", "r2"),
        system_logs=("one", "two"),
    )
    await runs.create(run)
    assert await runs.get(run.id) == run
    assert (await runs.glance(run.id)).groups == ("lab", "über")
    await runs.create(make_run(id=run.id, owner="bob"))
    assert (await runs.get(run.id)).owner == "alice"


async def test_what_is_not_there_is_not_found(runs: RunStore) -> None:
    for ask in (runs.get, runs.glance, runs.doom):
        with pytest.raises(RunNotFound):
            await ask("no-such-run")
    with pytest.raises(RunNotFound):
        await runs.request_cancel("no-such-run", "why")


async def test_lists_are_newest_first_and_stable(runs: RunStore) -> None:
    made = [make_run(owner=owner, groups=groups) for owner, groups in [("a", ()), ("b", ("lab",))] * 5]
    for run in made:
        await runs.create(run)
    shown: list[str] = []
    after = None
    while True:
        page = await runs.list_runs(RunQuery(page_size=3, after=after))
        assert len(page.items) <= 3
        shown += [run.id for run in page.items]
        await runs.create(make_run(owner="a"))
        after = page.next_token
        if after is None:
            break
    assert shown == [run.id for run in reversed(made)]
    of_b = await runs.list_runs(RunQuery(owner="b"))
    of_lab = await runs.list_runs(RunQuery(group="lab"))
    assert [run.id for run in of_b.items] == [run.id for run in of_lab.items] == shown[::2]
    with pytest.raises(InvalidRequest):
        await runs.list_runs(RunQuery(after="nonsense"))


async def test_lists_read_no_large_parts(runs: RunStore, run: Run) -> None:
    tags = {"project": "demo", "$über.x": "\ud800"}
    large, bare = make_run(uses=(run.id,), params={"a": 1}, system_logs=("one",)), make_run()
    large = replace(large, request={**large.request, "workflow_params": {"x": "y" * 10**6}, "tags": tags})
    bare = replace(bare, request={key: bare.request[key] for key in bare.request if key != "tags"})
    for run in (large, bare):
        await runs.create(run)
    page = await runs.list_runs(RunQuery())
    assert [dict(run.request) for run in page.items] == [
        {"tags": {}},
        {"tags": tags},
        {"tags": {"project": "demo"}},
    ]
    assert all((run.params, run.uses, run.system_logs) == (None, (), ()) for run in page.items)
    assert (await runs.get(large.id)).request == large.request


async def test_runs_are_counted(runs: RunStore, run: Run) -> None:
    other = make_run(owner="bob")
    await runs.create(other)
    await end(runs, run)
    assert await runs.count_states() == {State.QUEUED: 1, State.COMPLETE: 1}
    assert (await runs.count_live("alice"), await runs.count_live("bob")) == (0, 1)


async def test_no_more_are_live_than_may_be(runs: RunStore) -> None:
    ended = make_run()
    await runs.create(ended, live_max=2)
    await end(runs, ended)
    made = [make_run() for _ in range(8)]
    answers = await asyncio.gather(*(runs.create(run, live_max=3) for run in made), return_exceptions=True)
    refused = [answer for answer in answers if not isinstance(answer, str)]
    assert len(refused) == 5
    assert all(isinstance(answer, LimitReached) for answer in refused)
    assert await runs.count_live("alice") == 3
    assert len(await runs.claim("server", lease_s=60, new_limit=9)) == 3
    await runs.create(make_run(owner="bob"), live_max=1)
    with pytest.raises(LimitReached, match=r"wes\.live_max is 1, 1 runs of yours"):
        await runs.create(make_run(owner="bob"), live_max=1)


async def test_a_run_lives_by_the_table(runs: RunStore, run: Run, clock: FakeClock) -> None:
    claim = await take(runs, run.id)
    with pytest.raises(TransitionRefused):
        await runs.transition(run.id, State.COMPLETE, claim=claim)
    begun = await runs.transition(run.id, State.INITIALIZING, claim=claim)
    assert begun.started_at is not None
    clock.advance(5)
    await runs.transition(run.id, State.RUNNING, claim=claim)
    await runs.tell("a line $of the system", claim=claim)
    outputs = {"out": {"location": "file:///work/x", "$size": 1}}
    ended = await runs.transition(
        run.id, State.EXECUTOR_ERROR, claim=claim, log="step b failed", end=RunEnd(outputs, 1)
    )
    assert (ended.state, ended.exit_code, ended.outputs) == (State.EXECUTOR_ERROR, 1, outputs)
    assert ended.ended_at is not None
    assert ended.ended_at - begun.started_at == timedelta(seconds=5)
    assert ended.system_logs == ("a line $of the system", "step b failed")
    assert ended.claim is None
    assert await runs.get(run.id) == ended


async def test_a_cancel_wins_unless_the_run_has_ended(runs: RunStore, run: Run) -> None:
    claim = await take(runs, run.id)
    assert await runs.request_cancel(run.id, "canceled by alice") is State.CANCELING
    assert await runs.request_cancel(run.id, "canceled by bob") is State.CANCELING
    assert await runs.held("server") == {run.id: State.CANCELING}
    with pytest.raises(TransitionRefused):
        await runs.transition(run.id, State.INITIALIZING, claim=claim)
    await runs.transition(run.id, State.CANCELED, claim=claim)
    assert await runs.request_cancel(run.id, "too late") is State.CANCELED
    assert (await runs.get(run.id)).system_logs == ("canceled by alice",)


async def test_only_what_has_ended_and_is_not_in_use_is_deleted(runs: RunStore, run: Run) -> None:
    with pytest.raises(RunNotOver):
        await runs.doom(run.id)
    await end(runs, run)
    reader, resuming = make_run(uses=(run.id,)), make_run(uses=(run.id,), resumes=run.id)
    await runs.create(reader)
    with pytest.raises(RunInUse, match=reader.id):
        await runs.doom(run.id)
    await end(runs, reader)
    with pytest.raises(RunInUse, match=reader.id):  # its outputs may be files of that one
        await runs.doom(run.id)
    await runs.doom(reader.id)
    await runs.create(resuming)
    await end(runs, resuming)
    with pytest.raises(RunInUse, match=resuming.id):
        await runs.doom(run.id)
    for one in (resuming, run):
        await runs.doom(one.id)
        with pytest.raises(RunNotFound):
            await runs.get(one.id)
        with pytest.raises(RunNotFound):
            await runs.doom(one.id)
    assert (await runs.list_runs(RunQuery())).items == []
    assert await runs.count_states() == {}


async def test_what_is_gone_cannot_be_used(runs: RunStore, run: Run) -> None:
    await end(runs, run)
    await runs.doom(run.id)
    for used in (run.id, "no-such-run"):
        late = make_run(owner="bob", uses=(used,))
        with pytest.raises(RunNotFound, match=used):
            await runs.create(late)
        with pytest.raises(RunNotFound):
            await runs.get(late.id)
    assert await runs.count_live("bob") == 0


async def test_nothing_is_deleted_while_a_run_begins_to_use_it(runs: RunStore) -> None:
    for _ in range(20):
        used = make_run()
        await runs.create(used)
        await end(runs, used)
        user = make_run(owner="bob", uses=(used.id,))
        created, doomed = await asyncio.gather(runs.create(user), runs.doom(used.id), return_exceptions=True)
        assert created == user.id or isinstance(created, RunNotFound)
        assert doomed is None or isinstance(doomed, RunInUse)
        assert not (created == user.id and doomed is None)
        seen = await runs.list_runs(RunQuery())
        assert (user.id in [one.id for one in seen.items]) is (created == user.id)
        assert (used.id in [one.id for one in seen.items]) is (doomed is not None)
        await runs.release("server")


async def test_a_doomed_run_is_claimed_and_removed(runs: RunStore, run: Run) -> None:
    claim = await take(runs, run.id)
    await runs.put_step(step_of(run, "a"), claim=claim)
    await runs.append_log("stderr", b"text", claim=claim)
    await runs.request_cancel(run.id, "why")
    await runs.transition(run.id, State.CANCELED, claim=claim)
    assert await runs.claim("server", lease_s=60, new_limit=9) == []
    await runs.doom(run.id)
    [doomed] = await runs.claim("server", lease_s=60, new_limit=0)
    assert doomed.doomed
    assert doomed.claim is not None
    await runs.remove(claim=doomed.claim)
    assert await runs.list_steps(run.id, limit=9) == []
    assert await runs.log_size(run.id, "stderr") == 0
    assert await runs.claim("server", lease_s=60, new_limit=9) == []


async def test_old_runs_are_deleted_oldest_end_first(runs: RunStore, clock: FakeClock) -> None:
    made = [make_run() for _ in range(4)]
    for run in made:
        await runs.create(run)
    for run in (made[2], made[0], made[1]):
        clock.advance(10)
        await end(runs, run)
        await runs.release("server")
    used = make_run(uses=(made[2].id,), resumes=made[2].id)
    await runs.create(used)
    assert await runs.doom_old(clock.moment, limit=1) == 1
    with pytest.raises(RunNotFound):
        await runs.get(made[0].id)
    assert await runs.doom_old(clock.moment, limit=9) == 0
    assert await runs.doom_old(clock.moment + timedelta(seconds=1), limit=9) == 1
    assert (await runs.get(made[2].id)).state is State.COMPLETE


async def test_a_log_grows_at_its_end(runs: RunStore, run: Run) -> None:
    claim = await take(runs, run.id)
    for data in (b"one ", b"two ", b"three"):
        await runs.append_log("stdout", data, claim=claim)
    assert await runs.log_size(run.id, "stdout") == 13
    assert await runs.log_size(run.id, "stderr") == 0
    whole = b"one two three"
    for offset in range(15):
        for limit in (1, 5, 100):
            part = await runs.read_log(run.id, "stdout", offset=offset, limit=limit)
            assert (part.offset, part.data) == (offset, whole[offset : offset + limit])


def step_of(run: Run, key: str, **parts: str) -> StepRecord:
    made = new_task_id()
    return StepRecord(
        **{"id": made, "run_id": run.id, "key": key, "name": f"step {key}", "task_id": made} | parts
    )


async def test_a_step_is_put_once(runs: RunStore, run: Run) -> None:
    claim = await take(runs, run.id)
    first, again, other = step_of(run, "a"), step_of(run, "a"), step_of(run, "b", reused_from="r0")
    assert await runs.put_step(first, claim=claim) == first
    assert await runs.put_step(again, claim=claim) == first
    assert await runs.put_step(other, claim=claim) == other
    assert await runs.list_steps(run.id, limit=9) == [first, other]
    assert await runs.list_steps(run.id, after=first.id, limit=9) == [other]
    assert await runs.list_steps(run.id, limit=1) == [first]
    assert await runs.find_step(run.id, other.task_id) == other
    assert await runs.find_step_by_key(run.id, "a") == first
    assert await runs.find_step("other", first.task_id) is None
    await runs.replace_step(again, claim=claim)
    assert await runs.list_steps(run.id, limit=9) == sorted([other, again], key=lambda step: step.id)
