"""A few threads that read, each read upon one snapshot of the database."""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tesp_api.errors import StoreUnavailable
from tesp_api.store.sqlite_errors import translated
from tesp_api.store.sqlite_schema import connect

T = TypeVar("T")

_READERS = 4


class SqliteReaders:
    """Runs reads beside the writer: in WAL mode neither waits for the other."""

    def __init__(self, database: Path) -> None:
        # The last one used comes first: what it has read is still in its cache.
        self._idle: deque[sqlite3.Connection] = deque()
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self._closed = False
        for _ in range(_READERS):
            self._idle.append(connect(database, read_only=True))

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on a reading connection: all its queries see the database at one moment.

        Raises:
            StoreUnavailable, StoreError: the database failed.
            Whatever `work` raises.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._idle.pop()  # there are as many as threads
        try:
            connection.execute("BEGIN")
            return work(connection)
        except sqlite3.Error as error:
            raise translated(error) from error
        finally:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._idle.append(connection)

    async def aclose(self) -> None:
        """Finish the reads that run, then end the threads and close the connections."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        while self._idle:
            self._idle.pop().close()
