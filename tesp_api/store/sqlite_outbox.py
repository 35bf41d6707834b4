"""The outbox in the database of the SQLite store (`Outbox`); `sqlite_notices` has the statements."""

from collections.abc import Mapping

from tesp_api.store import sqlite_notices as notices
from tesp_api.store.outbox import Bounds, Delivery, Notice, Outcome
from tesp_api.store.sqlite import SqliteTaskStore


class SqliteOutbox:
    """The `Outbox` in the database of `tasks`, which opens and closes it."""

    def __init__(self, tasks: SqliteTaskStore) -> None:
        self._tasks = tasks

    async def receivers(self) -> list[str]:
        return await self._tasks.read(notices.read_receivers)

    async def claim(self, receiver: str, *, limit: int, lease_s: float) -> list[Notice]:
        now, until = self._tasks.lease(lease_s)
        return await self._tasks.write(
            lambda db: notices.claim(db, receiver, now=now, until=until, limit=limit)
        )

    async def settle(self, notice: Notice, outcome: Outcome) -> None:
        due_at, now = self._tasks.lease(outcome.after_s)[1], self._tasks.now_micros()
        await self._tasks.write(
            lambda db: notices.settle(db, notice, outcome, due_at=due_at, now=now),
        )

    async def sweep(self, bounds: Bounds) -> int:
        now = self._tasks.now_micros()
        return await self._tasks.write(lambda db: notices.sweep(db, bounds, now))

    async def deliveries(self, subject: str) -> list[Delivery]:
        return await self._tasks.read(lambda db: notices.read_deliveries(db, subject))

    async def waiting(self) -> Mapping[str, int]:
        return await self._tasks.read(notices.count_waiting)
