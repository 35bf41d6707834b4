"""The servers that the API's benchmark asks: loaded, checked, and with nothing to do but answer."""

import asyncio
import json
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench import load_mongodb, load_sqlite
from bench.api_data import HOT_TAG, Stored, is_hot, stored_task
from tesp_api.store.base import TaskQuery, TaskStore
from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.sqlite import SqliteTaskStore
from tests.services.mongod import Mongod
from tests.services.tesp import TespServer

_READ_BACK = 50

# One task that sleeps takes the only place, so that the tasks created later stay QUEUED.
_ONE_PLACE = {
    "TESP_API_DESTINATIONS__LOCAL__RUNTIMES": "@json []",
    "TESP_API_DESTINATIONS__LOCAL__ALLOW_BUBBLEWRAP": "true",
    "TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": "1",
}
_SLEEPER = {"executors": [{"image": "busybox", "command": ["sleep", "3600"]}]}


class BenchedServer(TespServer):
    """A server over `total` finished tasks."""

    def __init__(self, data: Path, total: int, environment: dict[str, str] | None = None) -> None:
        super().__init__(_ONE_PLACE | (environment or {}), data=data)
        self.total = total
        self._sleeper = ""

    def occupy(self) -> None:
        """Start the task that keeps all others waiting."""
        self._sleeper = self.create(_SLEEPER)
        self.wait(self._sleeper, states={"RUNNING"})

    @property
    def some_id(self) -> str:
        """The id of a task in the middle."""
        return stored_task(self.total // 2, self.total).task.id

    def rss_mb(self) -> float:
        """The memory of the process alone, in units of 10^6 bytes."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def leave(self) -> None:
        """End the sleeping task, so that nothing outlives the server."""
        if self._sleeper:
            self.client.post(f"/ga4gh/tes/v1/tasks/{self._sleeper}:cancel")
            self.wait(self._sleeper)


Fill = Callable[[Path, int], dict[str, str]]
"""Fills a store with so many tasks; returns the settings of a server upon it, with that data folder."""


@contextmanager
def benched_servers(store: str, folder: Path, totals: tuple[int, int]) -> Iterator[list[BenchedServer]]:
    """A running server for each number of stored tasks."""
    with ExitStack() as stack:
        fill = stack.enter_context(STORES[store]())
        servers = []
        settings = [fill(folder / f"{total}", total) for total in totals]
        for total, environment in zip(totals, settings, strict=True):
            server = stack.enter_context(BenchedServer(folder / f"{total}", total, environment))
            server.occupy()
            stack.callback(server.leave)
            servers.append(server)
        yield servers


@contextmanager
def _sqlite() -> Iterator[Fill]:
    def fill(data: Path, total: int) -> dict[str, str]:
        load_sqlite.load(data, total)
        asyncio.run(_check(SqliteTaskStore(data), total))
        load_sqlite.warm_up(data)
        return {}

    yield fill


@contextmanager
def _mongodb() -> Iterator[Fill]:
    with Mongod() as mongod:

        def fill(_: Path, total: int) -> dict[str, str]:
            database = f"bench_{total}"
            store = MongoTaskStore(mongod.url, database=database)
            asyncio.run(_prepare(store))
            load_mongodb.load(mongod.url, database, total)
            asyncio.run(_check(store, total))
            return {"TESP_API_STORE__URL": mongod.url, "TESP_API_STORE__DATABASE": database}

        yield fill


STORES: dict[str, Callable[[], AbstractContextManager[Fill]]] = {"sqlite": _sqlite, "mongodb": _mongodb}


async def _prepare(store: TaskStore) -> None:
    await store.open()
    await store.aclose()


async def _check(store: TaskStore, total: int) -> None:
    """Read some tasks back, and the lists by tag and name, as the store itself does."""
    await store.open()
    choices = random.Random(5)
    for number in {0, total - 1, *(choices.randrange(total) for _ in range(_READ_BACK))}:
        stored = stored_task(number, total)
        await _check_task(store, stored)
    page = await store.list_states(TaskQuery(tags=(HOT_TAG,), page_size=2047))
    hot = (stored_task(number, total).task for number in reversed(range(total)) if is_hot(number, total))
    assert page.items == [(task.id, task.state) for task in hot]
    await store.aclose()


async def _check_task(store: TaskStore, stored: Stored) -> None:
    task = stored.task
    assert await store.get(task.id) == task, json.dumps(task.request)
    assert await store.get_state(task.id) == task.state
    assert tuple(await store.history(task.id)) == stored.history
    assert (await store.read_log(task.id, 1, 0, "stdout", offset=0, limit=99)).data == stored.stdout
    named = await store.list_states(TaskQuery(name_prefix=task.request["name"]))
    assert named.items == [(task.id, task.state)]
