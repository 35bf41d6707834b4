"""Whose a task is: told at a glance, and lists by owner and by group."""

import pytest

from tesp_api.errors import TaskNotFound
from tesp_api.store.base import Glance, TaskQuery, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver
from tests.factories import make_task


async def listed(store: TaskStore, **filters: object) -> list[str]:
    """The ids of all pages, newest first."""
    ids: list[str] = []
    token: str | None = None
    while True:
        page = await store.list_states(TaskQuery(page_size=2, after=token, **filters))  # type: ignore[arg-type]
        ids += [task_id for task_id, _ in page.items]
        token = page.next_token
        if token is None:
            return ids


async def test_a_glance_tells_the_state_and_whose_it_is(store: TaskStore, runner: Driver) -> None:
    plain, shared = make_task(owner="alice"), make_task(owner="https://idp#x", groups=("lab", "/b $c.d"))
    await store.create(plain)
    claim = await runner.take(shared)
    assert await store.glance(plain.id) == Glance(State.QUEUED, "alice")
    await store.transition(shared.id, State.INITIALIZING, claim=claim, reason="began")
    assert await store.glance(shared.id) == Glance(State.INITIALIZING, "https://idp#x", ("lab", "/b $c.d"))
    assert (await store.get(shared.id)).groups == ("lab", "/b $c.d")
    assert await store.get_state(shared.id) is State.INITIALIZING
    with pytest.raises(TaskNotFound):
        await store.glance("01a20456-0000-7000-8000-000000000000")


async def test_a_groups_tasks_are_listed_with_all_other_filters(store: TaskStore, runner: Driver) -> None:
    made = [
        make_task(
            name=f"t{number}",
            owner="alice" if number % 2 else "bob",
            groups=[(), ("lab",), ("lab", "all"), ("all",)][number % 4],
            tags={"k": str(number % 3)},
        )
        for number in range(12)
    ]
    for task in made:
        await store.create(task)
    claims = {task.id: task.claim for task in await runner.claim()}
    for task in made[:6]:
        claim = claims[task.id]
        assert claim is not None
        await store.transition(task.id, State.INITIALIZING, claim=claim, reason="began")

    def ids(wanted: object) -> list[str]:
        return [task.id for task in reversed(made) if wanted(task)]  # type: ignore[operator]

    assert await listed(store, group="lab") == ids(lambda t: "lab" in t.groups)
    assert await listed(store, group="all", owner="bob") == ids(
        lambda t: "all" in t.groups and t.owner == "bob"
    )
    assert await listed(store, group="lab", tags=(("k", "1"),)) == ids(
        lambda t: "lab" in t.groups and t.request["tags"]["k"] == "1"
    )
    begun = frozenset({State.INITIALIZING})
    assert await listed(store, group="lab", states=begun) == ids(
        lambda t: "lab" in t.groups and made.index(t) < 6
    )
    assert await listed(store, group="lab", name_prefix="t1") == ids(
        lambda t: "lab" in t.groups and t.request["name"].startswith("t1")
    )
    assert await listed(store, group="la") == await listed(store, group="LAB") == []
    assert await listed(store, tags=(("group", "lab"),)) == []


async def test_a_removed_task_leaves_its_group(store: TaskStore, runner: Driver) -> None:
    claim = await runner.take(make_task(groups=("lab",)))
    await store.transition(claim.task_id, State.CANCELED, claim=claim, reason="over")
    await store.retire(claim)
    await store.delete(claim.task_id)
    assert await listed(store, group="lab") == []
    with pytest.raises(TaskNotFound):
        await store.glance(claim.task_id)
