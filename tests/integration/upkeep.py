"""Databases for tests of `tesp db`: of each kind, empty at first, and the command pointed at them."""

import asyncio
import contextlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from pymongo import MongoClient
from typer.main import get_command
from typer.testing import CliRunner, Result

from tesp_api.app import build_accounts, build_run_store, build_store
from tesp_api.cli.main import app
from tesp_api.settings import Settings
from tesp_api.store.accounts import Accounts, ApiToken, User
from tesp_api.store.base import Changes, Job, Task, TaskQuery, TaskStore
from tesp_api.store.runs import RunStore, StepRecord
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tests.factories import make_run, make_task
from tests.services.mongod import Mongod

T = TypeVar("T")
_COMMAND = get_command(app)
Stores = tuple[TaskStore, RunStore, Accounts]
Work = Callable[[TaskStore, RunStore, Accounts], Awaitable[T]]


class Place:
    """A data folder and, with `mongod`, a database there. `tesp` is the command, with its settings."""

    def __init__(self, folder: Path, mongod: Mongod | None) -> None:
        self.folder = folder
        self.mongod = mongod
        self.database = f"upkeep_{secrets.token_hex(6)}"
        self.more: dict[str, str] = {}
        """Further settings, by their variables."""

    @property
    def environment(self) -> dict[str, str]:
        found = {"TESP_API_DATA_DIR": str(self.folder), **self.more}
        if self.mongod is not None:
            found |= {"TESP_API_STORE__URL": self.mongod.url, "TESP_API_STORE__DATABASE": self.database}
        return found

    def tesp(self, *words: str | Path, yes: bool = True, named: bool = True) -> Result:
        """`tesp db ...`; a restore is told the folder, and into MongoDB that all servers are stopped."""
        said: list[str] = []
        if words[0] == "restore":
            said += ["--data", str(self.folder)] if named else []
            said += ["--yes"] if self.mongod is not None and yes else []
        # Made anew for each call, the commands take half of the time.
        with mock.patch("typer.testing._get_command", return_value=_COMMAND):
            return CliRunner().invoke(app, ["db", *map(str, words), *said], env=self.environment)

    def done(self, *words: str | Path) -> str:
        result = self.tesp(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def check(self) -> dict[str, Any]:
        """What `tesp db check` finds."""
        found: dict[str, Any] = json.loads(self.tesp("check", "--json").stdout)
        return found

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[Work[Any]], Any]]:
        """The stores, open as in a server of another thread."""
        store: dict[str, Any] = {"database": self.database}
        if self.mongod is not None:
            store["url"] = self.mongod.url
        settings = Settings.model_validate({"data_dir": self.folder, "store": store})
        tasks, accounts = build_store(settings), build_accounts(settings)
        runs = build_run_store(settings, tasks)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        def call(work: Work[T]) -> T:
            async def do() -> T:
                return await work(tasks, runs, accounts)

            return asyncio.run_coroutine_threadsafe(do(), loop).result(60)

        async def open_all(*stores: Any) -> None:
            await tasks.open()
            await accounts.open()

        async def close_all(*stores: Any) -> None:
            await accounts.aclose()
            await tasks.aclose()

        try:
            call(open_all)
            yield call
        finally:
            call(close_all)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def run(self, work: Work[T]) -> T:
        """Do `work` on the stores, as a server that starts and stops."""
        with self.live() as call:
            found: T = call(work)
            return found

    def set_schema(self, version: int) -> None:
        """Say that the database is of that version."""
        if self.mongod is None:
            with contextlib.closing(sqlite3.connect(self.folder / "tesp.sqlite3")) as db:
                db.execute(f"PRAGMA user_version = {version}")
        else:
            with self.client() as client:
                found = client[self.database].meta.update_one(
                    {"_id": "schema"}, {"$set": {"version": version}}
                )
                assert found.matched_count

    def drop_index(self) -> str:
        """Remove one; returns its name."""
        if self.mongod is None:
            with contextlib.closing(sqlite3.connect(self.folder / "tesp.sqlite3")) as db:
                db.execute("DROP INDEX runs_ended")
            return "runs_ended"
        with self.client() as client:
            client[self.database].tasks.drop_index("by_tag")
        return "by_tag"

    def client(self) -> MongoClient[dict[str, Any]]:
        assert self.mongod is not None
        return MongoClient(self.mongod.url)

    def files(self) -> set[str]:
        """The names in the data folder, without those that say nothing of its contents."""
        return {path.name for path in self.folder.iterdir()} - {"lock", "audit.log"}

    def write_key(self, byte: str) -> None:
        """Have a server's key in the data folder: that byte, in hexadecimal, again and again."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        (self.folder / "secret.key").write_text(byte * 32 + "\n")


ENDED = make_task(name="ended", owner="alice", tags={"é": "ü"}, groups=("lab",))
WAITING = make_task(name="waiting", owner="bob", sealed="sealed logins")
RUN = make_run()
STEP = StepRecord(new_task_id(), RUN.id, "key", "a", ENDED.id)
LOG = bytes(range(256)) * 300
ALICE = User("alice", now(), "a hash", ("lab",), True)
TOKEN = ApiToken("t1", "alice", b"\x00digest", ("read",), now(), None, "of a test")


async def fill(tasks: TaskStore, runs: RunStore, accounts: Accounts) -> None:
    """One of everything: an ended task with a log, one that waits, a run with a step, a user with a token."""
    await tasks.create(ENDED)
    await tasks.create(WAITING)
    claim = next(one.claim for one in await tasks.claim("me", lease_s=60, new_limit=9) if one.id == ENDED.id)
    assert claim is not None
    began = Changes(attempt=1, job=Job("local", "job"))
    await tasks.transition(ENDED.id, State.INITIALIZING, claim=claim, reason="x", changes=began)
    await tasks.append_log(claim, 1, 0, "stdout", 0, LOG)
    await tasks.put_report("job", "result", b"\xff\x00")
    for state in (State.RUNNING, State.COMPLETE):
        await tasks.transition(ENDED.id, state, claim=claim, reason="x", changes=Changes(log={"n": 1}))
    await tasks.retire(claim)
    await tasks.release("me")
    await runs.create(RUN)
    [claimed] = await runs.claim("me", lease_s=60, new_limit=9)
    assert claimed.claim is not None
    await runs.put_step(STEP, claim=claimed.claim)
    await runs.append_log("stderr", b"expanding", claim=claimed.claim)
    await runs.release("me")
    await accounts.add_user(ALICE)
    await accounts.add_token(TOKEN)


async def read_all(tasks: TaskStore, runs: RunStore, accounts: Accounts) -> list[Any]:
    """All that `fill` wrote, as it is shown."""
    found: list[Task] = (await tasks.list_tasks(TaskQuery())).items
    histories = [await tasks.history(task.id) for task in found]
    log = await tasks.read_log(ENDED.id, 1, 0, "stdout", offset=0, limit=10**6)
    users = await accounts.list_users(), await accounts.list_tokens(), await accounts.find_token("t1")
    steps = await runs.list_steps(RUN.id, limit=9)
    run_log = await runs.read_log(RUN.id, "stderr", offset=0, limit=99)
    return [found, histories, log, await runs.get(RUN.id), steps, run_log, users]
