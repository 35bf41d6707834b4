"""Everything that runs workflows, but for the runner, which is played: real stores, a scripted engine."""

import asyncio
import io
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self, TypeVar

from tesp_api.api.creation import Creation
from tesp_api.app import build_run_store, build_store
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.storage.admission import Rules
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.work_files import build_work_files
from tesp_api.store.base import TaskStore
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run, RunStore, StepRecord
from tesp_api.tes.states import State
from tesp_api.wes.conductor import Conductor
from tesp_api.wes.engines.base import EngineRun, RunFiles
from tesp_api.wes.files import StorageFiles
from tesp_api.wes.requests import read_run_request
from tesp_api.wes.run_creation import RunCreation
from tesp_api.wes.run_tasks import HostParts
from tesp_api.wes.task_ends import TaskEnds
from tesp_api.wes.workflows import Workflows
from tests.fakes.script_engine import ScriptEngine
from tests.fakes.task_player import TaskPlayer

WAIT_S = 20.0


T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """What `look` gives as soon as that is true."""
    deadline = time.monotonic() + WAIT_S
    while not (found := await look()):
        assert time.monotonic() < deadline, f"timed out after {WAIT_S:g} s"
        await asyncio.sleep(0.01)
    return found


def workflows_over(store: TaskStore, settings: Settings, engine: ScriptEngine | None = None) -> Workflows:
    """What the API needs of runs, with a scripted engine; nobody drives them."""
    engine = engine or ScriptEngine()
    runs = build_run_store(settings, store)
    files = build_work_files(settings, Credentials(settings.credentials), S3Signer())
    bell = Bell()
    faults = Creation(store, Bell(), settings).place_faults
    creation = RunCreation(runs, files, bell, settings, {engine.name: engine}, faults)
    return Workflows(runs, store, creation, files, bell)


class Workshop:
    """`async with Workshop(settings) as shop:`; several on one MongoDB are servers beside each other."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: TaskStore | None = None,
        plays: bool = True,
        routing: Rules | None = None,
    ) -> None:
        self.settings = settings
        self.engine = ScriptEngine()
        self._owns_store = store is None
        self.store = store or build_store(settings)
        self.runs: RunStore = build_run_store(settings, self.store)
        self.bell, self.ended, self.run_bell = Bell(), Bell(), Bell()
        credentials, signer = Credentials(settings.credentials), S3Signer()
        self.files = build_work_files(settings, credentials, signer)
        creation = Creation(self.store, self.bell, settings, routing)

        def files_for(run: EngineRun, owner: str, readable: Sequence[str]) -> RunFiles:
            return StorageFiles(settings, credentials, signer, owner=owner, run=run, readable=readable)

        ends = TaskEnds(self.store, self.ended, look_s=0.2)
        self.parts = HostParts(
            self.runs,
            self.store,
            creation,
            ends,
            self.bell,
            tail_bytes=1000,
            log_max_bytes=100_000,
            steps_max=settings.wes.steps_max,
        )
        engines = {"script": self.engine}
        self.conductor = Conductor(self.parts, engines, settings, self.run_bell, self.files, files_for)
        run_creation = RunCreation(
            self.runs, self.files, self.run_bell, settings, engines, creation.place_faults
        )
        self.workflows = Workflows(self.runs, self.store, run_creation, self.files, self.run_bell)
        self.player = TaskPlayer(self.store, self.bell, self.ended)
        self._plays = plays
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._owns_store:
            await self.store.open()
            self._stack.push_async_callback(self.store.aclose)
        if self._plays:
            await self._stack.enter_async_context(self.player)
        await self.files.open()
        self._stack.push_async_callback(self.files.aclose)
        await self.conductor.start()
        self._stack.push_async_callback(self.conductor.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def submit(
        self,
        steps: Sequence[Mapping[str, Any]],
        outputs: Mapping[str, str] | None = None,
        *,
        owner: str = "alice",
        params: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
        attached: Mapping[str, bytes] | None = None,
    ) -> str:
        """Start a run of this script; returns its id."""
        script = json.dumps({"steps": list(steps), "outputs": dict(outputs or {})}).encode()
        files = {"w.json": script, **(attached or {})}
        fields = {
            "workflow_type": "script",
            "workflow_type_version": "1",
            "workflow_url": "w.json",
            "workflow_params": dict(params or {}),
            "workflow_engine_parameters": dict(parameters or {}),
        }
        new = read_run_request(fields, list(files), {"script": self.engine}, {"script": "1.0"})
        return await self.workflows.creation.create(
            new,
            [(name, io.BytesIO(data)) for name, data in files.items()],
            owner=owner,
            groups=(),
            find=self.runs.get,
            request_id="test",
        )

    async def ended_run(self, run_id: str) -> Run:
        """The run, once it has ended."""
        return await self.until(run_id, RUN_FINAL)

    async def until(self, run_id: str, states: frozenset[State] | set[State]) -> Run:
        """The run, once it is in one of the states."""

        async def look() -> Run | None:
            run = await self.runs.get(run_id)
            return run if run.state in states else None

        return await eventually(look)

    async def until_told(self, run_id: str, beginning: str) -> Run:
        """The run, once a line of its system logs begins so."""

        async def look() -> Run | None:
            run = await self.runs.get(run_id)
            return run if any(line.startswith(beginning) for line in run.system_logs) else None

        return await eventually(look)

    async def has_looked(self) -> None:
        """Return when the conductor has looked twice for runs to claim, from beginning to end."""
        enough = self.engine.looks + 3

        async def look() -> bool:
            self.run_bell.ring("")
            return self.engine.looks >= enough

        await eventually(look)

    async def steps(self, run_id: str) -> dict[str, StepRecord]:
        """The run's steps by their names."""
        return {step.name: step for step in await self.runs.list_steps(run_id, limit=1000)}

    async def until_begun(self, count: int) -> None:
        """Return when so many tasks have been begun."""

        async def look() -> bool:
            return len(self.player.begun) >= count

        await eventually(look)

    async def log(self, run_id: str) -> str:
        return (await self.runs.read_log(run_id, "stderr", offset=0, limit=10**6)).data.decode()
