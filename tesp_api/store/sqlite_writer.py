"""The one thread that writes, committing in groups: many waiting writes share one flush to the disk."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from tesp_api.errors import StoreUnavailable
from tesp_api.store.sqlite_errors import translated

T = TypeVar("T")

_GROUP_LIMIT = 512


class _Write:
    """One caller's work, what came of it, and the future that waits for it in the caller's loop."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class SqliteWriter:
    """Does many pieces of work in one transaction, on a thread of its own.

    While one transaction is being flushed, the next group gathers. If a piece of work raises, the group is
    undone and done again, each piece in a savepoint, so that it fails alone; if the transaction as a whole
    fails (disk full), all of its group do. What costs time here is taking turns with the other threads at
    running Python, hence no savepoints for what goes well, and one message to the loop for a whole group.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._waiting: SimpleQueue[_Write | None] = SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        # A daemon: whoever forgets to close the store shall still be able to end, and loses nothing by it.
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on the writing connection; durable when this returns. It may be called twice.

        When the caller is cancelled meanwhile, the work may be done all the same.

        Raises:
            StoreUnavailable, StoreError: the database failed.
            Whatever `work` raises.
        """
        write = _Write(work)
        with self._door:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            self._waiting.put(write)
        result: T = await write.future
        return result

    async def aclose(self) -> None:
        """Finish all that is waiting, then end the thread and close the connection."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with contextlib.closing(self._connection):
            while group := self._next_group():
                self._commit([write for write in group if not write.future.cancelled()])

    def _next_group(self) -> list[_Write]:
        """All that is waiting, at least one; empty when the writer is closed."""
        first = self._waiting.get()
        group = [] if first is None else [first]
        with contextlib.suppress(Empty):
            while group and len(group) < _GROUP_LIMIT:
                write = self._waiting.get_nowait()
                if write is None:
                    self._waiting.put(None)
                    break
                group.append(write)
        return group

    def _commit(self, group: list[_Write]) -> None:
        try:
            if not self._attempt_together(group):
                self._connection.execute("BEGIN IMMEDIATE")
                for write in group:
                    self._attempt(write)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            for write in group:
                write.error = write.error or error
        for loop in {write.loop for write in group}:
            # A loop that has ended has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_tell, [write for write in group if write.loop is loop])

    def _attempt_together(self, group: list[_Write]) -> bool:
        """Do all that is in the group, not yet committed; False, and no trace, if any of it raised.

        Raises:
            sqlite3.Error: no transaction can be begun.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for write in group:
                write.result = write.work(self._connection)
        except Exception:
            self._undo()
            return False
        return True

    def _attempt(self, write: _Write) -> None:
        """Do one piece of work or leave no trace of it.

        Raises:
            sqlite3.Error: the failure has ended the whole transaction.
        """
        self._connection.execute("SAVEPOINT one_write")
        try:
            write.result = write.work(self._connection)
        except Exception as error:
            if not self._connection.in_transaction and isinstance(error, sqlite3.Error):
                raise
            write.error = error
            self._connection.execute("ROLLBACK TO one_write")
        self._connection.execute("RELEASE one_write")

    def _undo(self) -> None:
        # A connection that cannot even roll back will say so at the next BEGIN.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _tell(group: list[_Write]) -> None:
    """In the callers' loop: say what came of their work."""
    for write in group:
        if write.future.done():
            continue
        if write.error is None:
            write.future.set_result(write.result)
        else:
            write.future.set_exception(translated(write.error))
