"""Callers at the same time share a question."""

import asyncio

import pytest

from tesp_api.store.gathering import Gathering


class Database:
    """Doubles numbers, when it is let; notes which came together."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()

    async def double(self, numbers: list[int]) -> list[int]:
        self.groups.append(numbers)
        await self.gate.wait()
        if 13 in numbers:
            raise ValueError("thirteen")
        return [2 * number for number in numbers]


async def begun(gathering: Gathering[int, int], *numbers: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(gathering.add(number)) for number in numbers]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_comes_while_others_are_served_shares_the_next_group() -> None:
    database = Database()
    gathering = Gathering(database.double, at_once=2, patience_s=60)
    tasks = [*await begun(gathering, 1), *await begun(gathering, 2), *await begun(gathering, 3, 4)]
    tasks += await begun(gathering, 5)
    assert database.groups == [[1], [2]]
    database.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert database.groups == [[1], [2], [3, 4, 5]]
    assert await gathering.add(6) == 12


async def test_a_failure_is_that_of_its_group() -> None:
    database = Database()
    gathering = Gathering(database.double, at_once=1, patience_s=60)
    tasks = [*await begun(gathering, 1), *await begun(gathering, 13, 2)]
    database.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[0] == 2
    assert [str(answer) for answer in answers[1:]] == ["thirteen", "thirteen"]
    assert await gathering.add(3) == 6


async def test_a_caller_that_is_cancelled_disturbs_nobody() -> None:
    database = Database()
    gathering = Gathering(database.double, at_once=1, patience_s=60)
    first, cancelled, other = [*await begun(gathering, 1), *await begun(gathering, 2, 3)]
    cancelled.cancel()
    database.gate.set()
    assert (await first, await other) == (2, 6)
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_when_the_first_caller_is_cancelled_the_action_goes_on() -> None:
    database = Database()
    gathering = Gathering(database.double, at_once=1, patience_s=60)
    (first,) = await begun(gathering, 1)
    (second,) = await begun(gathering, 2)
    first.cancel()
    database.gate.set()
    assert await second == 4


async def test_nobody_waits_long_for_a_group_that_hangs() -> None:
    database = Database()
    gathering = Gathering(database.double, at_once=1, patience_s=0.01)
    hanging = await begun(gathering, 1)
    late = await begun(gathering, 2, 3)
    assert database.groups == [[1]]
    await asyncio.sleep(0.05)
    assert database.groups == [[1], [2, 3]]
    await asyncio.sleep(0.05)
    later = await begun(gathering, 4)
    assert database.groups == [[1], [2, 3], [4]]
    database.gate.set()
    assert await asyncio.gather(*hanging, *late, *later) == [2, 4, 6, 8]
    # What has hung and come to its end leaves the limit as it was.
    database.gate.clear()
    first, second, third = await begun(gathering, 5), await begun(gathering, 6), await begun(gathering, 7)
    assert database.groups[3:] == [[5]]
    database.gate.set()
    assert await asyncio.gather(*first, *second, *third) == [10, 12, 14]
    assert database.groups[3:] == [[5], [6, 7]]
