"""A live API over an embedded store, without a runner: the tests say what becomes of the tasks and runs."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.cli.main import app
from tesp_api.settings import Settings
from tesp_api.store.base import Changes, Job, Stream
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.tes.states import State
from tests.fakes.workshop import workflows_over

T = TypeVar("T")


class LiveApi:
    """The API on a loopback port; `url` is where."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self._store = SqliteTaskStore(folder)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        settings = Settings.model_validate({"data_dir": folder, "limits": limits})
        self._server = uvicorn.Server(
            uvicorn.Config(
                build_api(
                    self._store,
                    Bell(),
                    settings,
                    {},
                    next_destination=lambda *_: "local",
                    workflows=workflows_over(self._store, settings),
                    lifespan=self._lifespan,
                ),
                port=0,
                log_config=None,
                access_log=False,
            )
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(20)
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def advance(self, task_id: str, *states: State, log: dict[str, Any] | None = None) -> None:
        """Move the task as a runner would; the first call claims it."""
        self._call(self._advance(task_id, states, log))

    def retire(self, task_id: str) -> None:
        """Say that nothing is left to do for the task, as a runner would."""

        async def retire() -> None:
            claim = (await self._store.get(task_id)).claim
            assert claim
            await self._store.retire(claim)

        self._call(retire())

    def begin_attempt(self, task_id: str, attempt: int) -> None:
        """Say that the task is tried once more, as a runner would."""

        async def begin() -> None:
            claim = (await self._store.get(task_id)).claim
            assert claim
            changes = Changes(attempt=attempt, job=Job("local", f"{task_id}-{attempt}"))
            await self._store.update(task_id, changes, claim=claim)

        self._call(begin())

    def write_log(
        self, task_id: str, executor: int, stream: Stream, offset: int, data: bytes, attempt: int = 1
    ) -> None:
        """Append to an executor's log as a runner would."""

        async def write() -> None:
            claim = (await self._store.get(task_id)).claim
            assert claim
            await self._store.append_log(claim, attempt, executor, stream, offset, data)

        self._call(write())

    async def _advance(self, task_id: str, states: tuple[State, ...], log: dict[str, Any] | None) -> None:
        task = await self._store.get(task_id)
        if task.claim is None:
            await self._store.claim("test", lease_s=600, new_limit=100)
            task = await self._store.get(task_id)
        assert task.claim
        changes = Changes(attempt=1, log=log)
        for state in states:
            await self._store.transition(task_id, state, claim=task.claim, reason="a test", changes=changes)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._server.serve())
        self._loop.close()

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await self._store.open()
        self._ready.set()
        yield
        await self._store.aclose()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


class Tesp:
    """The `tesp` command, pointed at the live API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: str, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=input, env={"TESP_URL": self.url})


@pytest.fixture
def api(tmp_path: Path) -> Iterator[LiveApi]:
    live = LiveApi(tmp_path / "data")
    yield live
    live.stop()


@pytest.fixture
def tesp(api: LiveApi) -> Tesp:
    return Tesp(api.url)
