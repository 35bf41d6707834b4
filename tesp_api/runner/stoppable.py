"""Calls of the worker's transfer code in threads of this process, which a cancel leaves behind."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tesp_api.worker.cancellation import Cancellation

T = TypeVar("T")


class Stop(Cancellation):
    """A cancellation that this process asks for, once and for all."""

    def __init__(self) -> None:
        super().__init__(os.devnull)
        self._asked = threading.Event()

    def ask(self) -> None:
        """Let everything that checks this raise `Canceled`."""
        self._asked.set()

    @property
    def requested(self) -> bool:
        return self._asked.is_set()


async def in_thread(call: Callable[[], T]) -> T:
    """Make the call in a thread of its own.

    It keeps nobody waiting: if the caller is cancelled, the thread goes on alone until it notices its
    `Stop`, or what it waits for times out; and it ends with the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="gateway", daemon=True).start()
    return await answer


async def all_of(calls: Sequence[Callable[[], Awaitable[T]]], at_once: int) -> list[T]:
    """Await all calls, so many at one time; their results in the same order.

    Raises: what the first failing one raised; the others are cancelled then.
    """
    slots = asyncio.Semaphore(at_once)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await call()

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(call)) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in running]
