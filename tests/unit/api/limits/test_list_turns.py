"""Costly lists: how many run at one time, whose turn it is, and who is sent away."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tesp_api.api.auth.identity import LOCAL, OPEN, Identity
from tesp_api.api.limits import list_turns
from tesp_api.api.limits.list_turns import ListTurns, is_costly
from tesp_api.errors import LimitReached
from tesp_api.settings_limits import LimitSettings
from tesp_api.store.base import TaskQuery
from tesp_api.tes.tasks import View

LIMITS = LimitSettings.model_validate({"user": {"lists_at_once": 2}, "all": {"lists_at_once": 3}})
ALICE, BOB, CAROL = (Identity(LOCAL, name) for name in ("alice", "bob", "carol"))


class Lists:
    """Lists that run until they are told to end."""

    def __init__(self) -> None:
        self.turns = ListTurns(LIMITS)
        self.running: list[str] = []
        self._ends: dict[asyncio.Task[None], asyncio.Event] = {}

    async def begin(self, who: Identity) -> asyncio.Task[None]:
        ended = asyncio.Event()

        async def run() -> None:
            async with self.turns.turn(who):
                self.running.append(who.owner)
                await ended.wait()
                self.running.remove(who.owner)

        task = asyncio.create_task(run())
        self._ends[task] = ended
        await self._settle()
        return task

    async def end(self, task: asyncio.Task[None]) -> None:
        self._ends[task].set()
        await task
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_few_of_one_user_run_and_not_many_more_of_all() -> None:
    lists = Lists()
    of_alice = [await lists.begin(ALICE) for _ in range(5)]
    assert lists.running == ["alice"] * 2
    await lists.begin(BOB)
    of_carol = await lists.begin(CAROL)
    assert lists.running == ["alice"] * 2 + ["bob"]
    await lists.end(of_alice[0])
    assert sorted(lists.running) == ["alice", "bob", "carol"]
    await lists.end(of_carol)
    assert sorted(lists.running) == ["alice", "alice", "bob"]


async def test_who_logs_in_nowhere_is_bound_by_the_limits_of_all() -> None:
    lists = Lists()
    for _ in range(4):
        await lists.begin(OPEN)
    assert len(lists.running) == 3


async def test_who_gives_up_takes_no_turn() -> None:
    lists = Lists()
    first, second, third = [await lists.begin(ALICE) for _ in range(3)]
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)
    await lists.end(first)
    await lists.end(second)
    assert lists.running == []
    await lists.begin(ALICE)
    await lists.begin(ALICE)
    assert lists.running == ["alice"] * 2


async def test_a_turn_that_comes_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    lists = Lists()
    mine = lists.turns.turn(ALICE)
    await mine.__aenter__()
    other, gives_up, following = [await lists.begin(ALICE) for _ in range(3)]
    gives_up.cancel()
    await mine.__aexit__(None, None, None)  # before the other has noticed
    (outcome,) = await asyncio.gather(gives_up, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError)
    assert lists.running == ["alice"] * 2
    await lists.end(other)
    await lists.end(following)
    assert not lists.turns._running


async def test_too_many_that_wait_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_turns, "WAITING_MAX", 2)
    lists = Lists()
    for _ in range(4):
        await lists.begin(ALICE)
    with pytest.raises(LimitReached) as refused:
        await (await lists.begin(ALICE))
    assert (refused.value.name, refused.value.value, refused.value.used) == (
        "limits.user.lists_at_once",
        2,
        2,
    )
    assert not (await lists.begin(BOB)).done()


async def test_who_waits_too_long_is_sent_away_and_the_next_have_their_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(list_turns, "PATIENCE_S", 0.02)
    lists = Lists()
    first, _ = [await lists.begin(ALICE) for _ in range(2)]
    with pytest.raises(LimitReached):
        await (await lists.begin(ALICE))
    await lists.end(first)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(lists.turns.turn(ALICE))


def test_what_is_costly() -> None:
    tag = ("k", "v")
    assert not is_costly(TaskQuery(), View.MINIMAL)
    assert not is_costly(TaskQuery(tags=(tag,), owner="a", page_size=2047), View.MINIMAL)
    assert is_costly(TaskQuery(tags=(tag, tag)), View.MINIMAL)
    assert is_costly(TaskQuery(tags=(tag,), name_prefix="x"), View.MINIMAL)
    assert is_costly(TaskQuery(page_size=1), View.BASIC)
