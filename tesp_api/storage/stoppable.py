"""Calls of the worker's transfer code in threads of this process, which a cancel leaves behind."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from weakref import WeakSet

from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.transfer.guard import Guard

T = TypeVar("T")


class Stop(Cancellation):
    """A cancellation that this process asks for, once and for all. It ends the connections that it holds."""

    def __init__(self) -> None:
        super().__init__(os.devnull)
        self._asked = threading.Event()
        self._held: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Let everything that checks this raise `Canceled`, and wake what waits for a server."""
        with self._lock:
            self._asked.set()
            for connection in self._held:
                _end(connection)
            self._held.clear()

    def hold(self, connection: socket.socket) -> None:
        """End the connection when this is asked for; at once if it has been."""
        with self._lock:
            if self._asked.is_set():
                _end(connection)
            else:
                self._held.add(connection)

    @property
    def requested(self) -> bool:
        return self._asked.is_set()


class StoppableGuard(Guard):
    """The rules for one task's transfers, whose connections end with its `stop`, and are nobody else's."""

    stop: Stop

    def opened(self, connection: socket.socket) -> None:
        self.stop.hold(connection)

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def _end(connection: socket.socket) -> None:
    """Also with TLS, whose own good-bye might have to wait."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


async def in_thread(call: Callable[[], T]) -> T:
    """Make the call in a thread of its own.

    It keeps nobody waiting: if the caller is cancelled, the thread goes on alone until it notices its
    `Stop`, which ends its connections; and it ends with the process.
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
