"""One run, from wherever it stands to its end. Read this first to understand how runs are driven."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tesp_api.errors import (
    ClaimLost,
    EngineDied,
    EngineUnusable,
    InvalidRequest,
    RunCanceled,
    RunNotFound,
    StorageUnavailable,
    StoreUnavailable,
    TaskInUse,
    TaskNotFound,
    TaskNotOver,
    TransitionRefused,
)
from tesp_api.storage.work_files import WorkFiles
from tesp_api.store.base import Claim
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run, RunEnd, RunStore
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome, EngineRun, RunFiles, WorkflowEngine
from tesp_api.wes.requests import asked_of
from tesp_api.wes.run_folders import RunFolders
from tesp_api.wes.run_host import StoreRunHost
from tesp_api.wes.run_tasks import HostParts, RunTasks, steps_of
from tesp_api.wes.views import outputs_fault

T = TypeVar("T")

_log = logging.getLogger(__name__)

FilesFor = Callable[[EngineRun, str, list[str]], RunFiles]
"""The files that a run may see: of the run, its owner, and the folders of runs that it uses."""


@dataclass(frozen=True, slots=True)
class RunSurroundings:
    """What driving a run needs; `cancel` is set when the run is to end."""

    parts: HostParts
    engines: Mapping[str, WorkflowEngine]
    files_for: FilesFor
    work_files: WorkFiles
    folders: RunFolders
    cancel: asyncio.Event


class EngineFailed(Exception):
    """The engine has died, or raised what it should not; the run may be expanded once more.

    `steps` are those that the run has come to: whether it gets any further, if it fails again and again.
    """

    def __init__(self, reason: str, steps: int) -> None:
        super().__init__(reason)
        self.steps = steps


async def conduct_run(run: Run, around: RunSurroundings) -> None:
    """Drive one claimed run to its end.

    1. make ready: the attachments on this machine, the engine found
    2. have the engine expand it; whoever did so before, and died, left steps that are found again
    3. if it is canceled: stop the engine, cancel every task of the run's own, wait for their ends
    4. store the end, and remove what is on this machine

    A run that was deleted is removed instead. May be called again after any failure, by any process.

    Raises:
        StoreUnavailable, StorageUnavailable: call again later.
        EngineUnusable: call again where the run's engine can be used; the run says what it waits for.
        EngineFailed: call again, but not for ever.
        ClaimLost: another process drives the run now.
    """
    claim = claim_of(run)
    if run.doomed:
        await _remove(run, claim, around)
        return
    if run.state in RUN_FINAL:  # its end was stored, and the answer to that was lost
        await around.folders.remove(run.id)
        return
    outcome = None if run.state is State.CANCELING else await _outcome(run, claim, around)
    tasks = RunTasks(run, around.parts)
    if outcome is not None and outcome.state is not State.COMPLETE:
        await tasks.cancel("its workflow run has failed")  # an engine leaves none, if it can help it
    if outcome is None or not await _end(run, claim, outcome, around):
        await _cancel(run, claim, tasks, around)
    await around.folders.remove(run.id)


async def fail_run(run: Run, around: RunSurroundings, reason: str) -> None:
    """End a run that cannot be driven on: SYSTEM_ERROR, its tasks canceled."""
    claim = claim_of(run)
    tasks = RunTasks(run, around.parts)
    await tasks.cancel("its workflow run has failed")
    if not await _end(run, claim, _failed(reason), around):
        await _cancel(run, claim, tasks, around)
    await around.folders.remove(run.id)


async def engine_fault(name: str, engines: Mapping[str, WorkflowEngine]) -> str:
    """Why no run of this engine can be expanded on this server; "" if they can."""
    engine = engines.get(name)
    if engine is None:
        return f"this server knows no workflow engine {name}"
    return await asyncio.to_thread(lambda: engine.fault)


async def say_that_it_waits(run: Run, reason: str, runs: RunStore) -> None:
    """Tell the run's user once why nothing happens to it."""
    line = f"the run waits: {reason}"
    if line not in run.system_logs:
        _log.warning("run %s waits: %s", run.id, reason)
        await runs.tell(line, claim=claim_of(run))


def claim_of(run: Run) -> Claim:
    if run.claim is None:
        raise ValueError(f"run {run.id} is not claimed")
    return run.claim


async def _used_places(run: Run, around: RunSurroundings) -> list[str]:
    """The folders of the runs whose files this one uses, and of those that they took steps over from.

    The former its owner saw when it was created; the latter only if they are the owner's, or shared with a
    group of theirs.
    """
    places: dict[str, str] = {}
    left = list(run.uses)
    while left:
        used = left.pop()
        if used in places:
            continue
        try:
            found = await around.parts.runs.get(used)
        except RunNotFound:
            continue
        is_shared = not frozenset(found.groups).isdisjoint(run.groups)
        if used in run.uses or found.owner == run.owner or is_shared:
            places[used] = found.work_url
            left += found.uses
    return list(places.values())


async def _outcome(run: Run, claim: Claim, around: RunSurroundings) -> EngineOutcome | None:
    """What the engine came to; None if the run was canceled meanwhile."""
    runs = around.parts.runs
    if fault := await engine_fault(run.engine, around.engines):
        await say_that_it_waits(run, fault, runs)
        raise EngineUnusable(fault)
    engine = around.engines[run.engine]
    try:
        if run.state is State.QUEUED:
            run = await runs.transition(run.id, State.INITIALIZING, claim=claim)
        engine_run = await _before_cancel(_as_its_engine_sees_it(run, engine, around), run.id, around.cancel)
        places = await _used_places(run, around)
        files = around.files_for(engine_run, run.owner, places)
        host = StoreRunHost(run, claim, files, [run.work_url, *places], around.parts)
        try:
            await host.load()
            if run.state is State.INITIALIZING:
                await runs.transition(run.id, State.RUNNING, claim=claim)
            return await _expand(engine, engine_run, host, around)
        finally:
            await files.aclose()
    except EngineUnusable as error:
        await say_that_it_waits(run, str(error), runs)
        raise
    except (TransitionRefused, RunCanceled):
        return None


async def _as_its_engine_sees_it(run: Run, engine: WorkflowEngine, around: RunSurroundings) -> EngineRun:
    attachments, work_dir = await around.folders.prepare(run)
    asked = asked_of(run.request, engine)
    return EngineRun(
        id=run.id,
        workflow_type=asked.workflow_type,
        workflow_type_version=asked.workflow_type_version,
        workflow_url=run.request["workflow_url"],
        workflow_params=run.request["workflow_params"] if run.params is None else run.params,
        engine_parameters=asked.engine_parameters,
        attachments=attachments,
        work_dir=work_dir,
        work_url=run.work_url,
    )


def _failed(reason: str) -> EngineOutcome:
    return EngineOutcome(State.SYSTEM_ERROR, None, {}, reason)


async def _expand(
    engine: WorkflowEngine, run: EngineRun, host: StoreRunHost, around: RunSurroundings
) -> EngineOutcome | None:
    """What the engine came to; None if the run was canceled meanwhile. The engine has ended then."""
    try:
        return await _before_cancel(engine.execute(run, host), run.id, around.cancel)
    except RunCanceled:
        return None
    except InvalidRequest as error:
        return _failed(f"a step cannot run here: {error}")
    except (StoreUnavailable, StorageUnavailable, EngineUnusable, ClaimLost):
        raise
    except EngineDied as error:
        _log.warning("run %s is expanded anew: %s", run.id, error)
        raise EngineFailed(str(error), host.steps) from error
    except Exception as error:
        _log.exception("the engine %s failed with run %s", engine.name, run.id)
        raise EngineFailed(f"{type(error).__name__}: {error}", host.steps) from error
    finally:
        await host.settle()


async def _before_cancel(work: Coroutine[Any, Any, T], run_id: str, cancel: asyncio.Event) -> T:
    """What `work` comes to; it is broken off, and has ended, when `cancel` gets set.

    Raises:
        RunCanceled: it was.
    """
    working = asyncio.create_task(work, name=f"run {run_id}")
    canceled = asyncio.create_task(cancel.wait())
    try:
        await asyncio.wait({working, canceled}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RunCanceled(run_id)
        return working.result()
    finally:
        working.cancel()
        canceled.cancel()
        await asyncio.wait({working, canceled})


async def _end(run: Run, claim: Claim, outcome: EngineOutcome, around: RunSurroundings) -> bool:
    """Store the end; False if the run is being canceled instead."""
    runs = around.parts.runs
    if outcome.state is State.CANCELED:
        await runs.request_cancel(run.id, outcome.reason or "the engine says that it was canceled")
        return False
    if fault := outputs_fault(outcome.outputs):
        outcome = _failed(fault)
    end = RunEnd(outcome.outputs, outcome.exit_code)
    try:
        await runs.transition(run.id, outcome.state, claim=claim, log=outcome.reason, end=end)
    except TransitionRefused as refusal:
        if refusal.current is not State.CANCELING:
            raise
        return False
    return True


async def _cancel(run: Run, claim: Claim, tasks: RunTasks, around: RunSurroundings) -> None:
    """Bring a canceled run to its end: when none of its tasks runs any more."""
    await tasks.all_ended(await tasks.cancel(f"workflow run {run.id} was canceled"))
    await around.parts.runs.transition(run.id, State.CANCELED, claim=claim)


async def _remove(run: Run, claim: Claim, around: RunSurroundings) -> None:
    """Leave nothing of a run that was deleted: its tasks, its files, and then itself.

    Raises:
        StorageUnavailable: a task is still being cleaned up, or the files cannot be removed.
    """
    parts = around.parts
    async for step in steps_of(run.id, parts.runs):
        if step.reused_from:
            continue
        try:
            await parts.tasks.delete(step.task_id)
        except TaskNotFound:
            continue
        except TaskInUse as error:
            raise StorageUnavailable(f"run {run.id} is not removed yet: {error}") from error
        except TaskNotOver as error:
            await RunTasks(run, parts).cancel_one(step.task_id, "its workflow run was deleted")
            raise StorageUnavailable(f"run {run.id} is not removed yet: {error}") from error
    await around.work_files.remove(run.work_url, owner=run.owner)
    await around.folders.remove(run.id)
    await parts.runs.remove(claim=claim)


def reread(run: Run, now: Run) -> Run:
    """The run as it is `now`, under the claim that its driver holds."""
    return replace(now, claim=run.claim)
