"""Lets callers at the same time share one question to a database, where each question has its price."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LARGEST_GROUP = 500


class Gathering(Generic[T, R]):
    """Acts on items in groups: while `at_once` groups are on their way, the next one gathers.

    Whoever waits for nobody is acted for at once, and nobody waits longer for others than `patience_s`: a
    database that hangs then holds up each caller by itself. `act` begins after all of its items have been
    given, so a read by it is as fresh as one made alone. It gives a result for each item, in order; what it
    raises instead is raised to all of the group. All methods belong to one event loop.
    """

    def __init__(
        self, act: Callable[[list[T]], Awaitable[Sequence[R]]], *, at_once: int, patience_s: float
    ) -> None:
        self._act = act
        self._at_once = at_once
        self._patience_s = patience_s
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._prompt = 0

    async def add(self, item: T) -> R:
        """What `act` gives for `item`. If the caller is cancelled, the action goes on."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._prompt < self._at_once:
            self._begin()
        return await future

    def _begin(self) -> None:
        self._prompt += 1
        task = asyncio.create_task(self._act_on_group())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act_on_group(self) -> None:
        group, self._waiting = self._waiting[:_LARGEST_GROUP], self._waiting[_LARGEST_GROUP:]
        waited_for = True

        def wait_no_longer() -> None:
            nonlocal waited_for
            if waited_for:
                waited_for = False
                self._prompt -= 1
                if self._waiting:
                    self._begin()

        timer = asyncio.get_running_loop().call_later(self._patience_s, wait_no_longer)
        try:
            results = await self._act([item for item, _ in group]) if group else ()
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in group:
                future.cancel()  # those that still wait: the loop is ending
            timer.cancel()
            wait_no_longer()
