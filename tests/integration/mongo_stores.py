"""MongoDB stores for tests: several objects upon one database, each as a server of its own would have."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from tesp_api.store.mongo import MongoTaskStore
from tests.services.mongod import Mongod

Clock = Callable[[], datetime]


class MongoPlace:
    """A database of its own on a running server; `open` gives a store, `db` looks behind the stores."""

    def __init__(self, mongod: Mongod, stack: AsyncExitStack) -> None:
        self.mongod = mongod
        self.database = f"test_{secrets.token_hex(6)}"
        self._stack = stack
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongod.url)
        stack.push_async_callback(self._client.close)

    @property
    def db(self) -> AsyncDatabase[dict[str, Any]]:
        return self._client[self.database]

    async def open(self, *, clock: Clock | None = None) -> MongoTaskStore:
        """A store that is closed when the test ends."""
        store = MongoTaskStore(self.mongod.url, database=self.database, clock=clock)
        self._stack.push_async_callback(store.aclose)
        await store.open()
        return store


@asynccontextmanager
async def mongo_place(mongod: Mongod) -> AsyncIterator[MongoPlace]:
    """A place that is gone afterwards; the server must be running then."""
    async with AsyncExitStack() as stack:
        place = MongoPlace(mongod, stack)
        try:
            yield place
        finally:
            mongod.drop(place.database)
