"""Lets callers at the same time share one question to a database, where each question has its price."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LARGEST_GROUP = 500


class Gathering(Generic[T, R]):
    """Acts on items in groups: while `at_once` groups are on their way, the next one gathers.

    Whoever waits for nobody is acted for at once. `act` begins after all of its items have been given, so a
    read by it is as fresh as one made alone. It gives a result for each item, in order; what it raises
    instead is raised to all of the group. All methods belong to one event loop.
    """

    def __init__(self, act: Callable[[list[T]], Awaitable[Sequence[R]]], *, at_once: int) -> None:
        self._act = act
        self._at_once = at_once
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._acting: set[asyncio.Task[None]] = set()

    async def add(self, item: T) -> R:
        """What `act` gives for `item`. If the caller is cancelled, the action goes on."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._acting) < self._at_once:
            task = asyncio.create_task(self._act_on_all())
            self._acting.add(task)
            task.add_done_callback(self._acting.discard)
        return await future

    async def _act_on_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_LARGEST_GROUP], self._waiting[_LARGEST_GROUP:]
            try:
                results = await self._act([item for item, _ in group])
            except Exception as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            except BaseException:
                for _, future in group:
                    future.cancel()
                raise
            else:
                for (_, future), result in zip(group, results, strict=True):
                    if not future.done():
                        future.set_result(result)
