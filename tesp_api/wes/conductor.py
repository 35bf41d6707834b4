"""Claims runs from the store and keeps one driver going for each, until it has ended.

As with tasks, claims are leases: of several servers on one database one expands a run, and when that one dies
another takes over where it stood.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tesp_api.bell import Bell
from tesp_api.context import RUN_ID, TRACE_ID
from tesp_api.errors import ClaimLost, EngineUnusable, RunNotFound, StorageUnavailable, StoreUnavailable
from tesp_api.settings import Settings
from tesp_api.storage.work_files import WorkFiles
from tesp_api.store.runs import Run
from tesp_api.tes.states import State
from tesp_api.tes.traceparent import trace_of
from tesp_api.wes.conduct_run import (
    EngineFailed,
    FilesFor,
    RunSurroundings,
    claim_of,
    conduct_run,
    engine_fault,
    fail_run,
    reread,
    say_that_it_waits,
)
from tesp_api.wes.engines.base import WorkflowEngine
from tesp_api.wes.run_folders import RunFolders
from tesp_api.wes.run_tasks import HostParts
from tesp_api.wes.waiting_runs import WaitingRuns

_log = logging.getLogger(__name__)

_RETRY_MIN_S, _RETRY_MAX_S = 0.2, 15.0
_TELL_EVERY_S = 15.0
_ENGINE_TRIES = 3
"""So often an engine that fails is called for one run that comes to no further step meanwhile, before that
ends SYSTEM_ERROR."""

_DEATHS_MAX = 20
"""So often it is called for one run that gets on meanwhile, by whichever server."""

_DIED = "the workflow engine failed, and is called again: "
_REASON_MAX_CHARACTERS = 500


@dataclass(slots=True)
class _Driven:
    """A run that this process drives: how to tell its driver that it is to end, and the driver."""

    cancel: asyncio.Event
    driver: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class Conductor:
    """One per process. `start` and `stop` belong to the same event loop."""

    parts: HostParts
    engines: Mapping[str, WorkflowEngine]
    settings: Settings
    bell: Bell
    work_files: WorkFiles
    files_for: FilesFor
    ended: Bell = field(default_factory=Bell)
    """Rung for every run that is driven no more: it has ended, or another server has it."""
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
    _driven: dict[str, _Driven] = field(init=False, default_factory=dict)
    _look: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _loops: "list[asyncio.Task[None]]" = field(init=False, default_factory=list)
    _folders: RunFolders = field(init=False)
    _waiting: WaitingRuns = field(init=False)
    _tell_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._folders = RunFolders(self.settings.data_dir, self.work_files)
        self._waiting = WaitingRuns(self.parts.runs, self.work_files.base_url)

    async def start(self) -> None:
        """Begin to claim and drive runs; returns at once."""
        self.bell.listen(self._rung)
        self._loops = [
            asyncio.create_task(self._claim_loop(), name="claim runs"),
            asyncio.create_task(self._lease_loop(), name="renew leases of runs"),
            asyncio.create_task(self._sweep(), name="sweep the folders of runs"),
        ]

    async def stop(self) -> None:
        """Let go of all runs, whose tasks go on, end their engines, and give up the claims."""
        drivers = [driven.driver for driven in self._driven.values() if driven.driver]
        for running in [*self._loops, *drivers]:
            running.cancel()
        await asyncio.gather(*self._loops, *drivers, return_exceptions=True)
        try:
            await self.parts.runs.release(self.owner)
        except StoreUnavailable as error:
            _log.warning("the claims of runs could not be released and will expire: %s", error)

    def _rung(self, _: str) -> None:
        self._look.set()

    async def _claim_loop(self) -> None:
        while True:
            self._look.clear()
            try:
                await self._claim()
            except StoreUnavailable as error:
                _log.warning("no runs can be claimed: %s", error)
            except Exception:
                _log.exception("claiming runs failed")
            try:
                async with asyncio.timeout(self.settings.scheduler.scan_s):
                    await self._look.wait()
            except TimeoutError:
                pass

    async def _claim(self) -> None:
        """Claim what is free, and see what has become of what is ours."""
        before = dict(self._driven)
        room = max(0, self.settings.wes.running_max - len(before))
        faults = await self._look_at_engines()
        # Where nobody logs in all are one user.
        reserved = 0 if self.settings.auth.is_open else self.settings.wes.reserved
        for run in await self.parts.runs.claim(
            self.owner,
            lease_s=self.settings.scheduler.lease_s,
            new_limit=room,
            without=faults,
            base_url=self.work_files.base_url,
            reserved=reserved,
        ):
            self._drive(run)
        if not before:
            return
        held = await self.parts.runs.held(self.owner)
        for run_id, driven in before.items():
            if self._driven.get(run_id) is not driven:
                continue
            if held.get(run_id) is State.CANCELING:
                driven.cancel.set()

    async def _look_at_engines(self) -> Mapping[str, str]:
        """The engines that cannot be used here, and why; now and then, what waits for them is told of."""
        found = {name: await engine_fault(name, self.engines) for name in self.engines}
        faults = {name: fault for name, fault in found.items() if fault}
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_EVERY_S
            try:
                await self._waiting.tell(faults, self._driven)
            except Exception as error:  # who waits learns it later; who does not is claimed
                _log.warning("runs that wait could not be told why: %s", error)
        return faults

    async def _lease_loop(self) -> None:
        while True:
            await asyncio.sleep(self.settings.scheduler.lease_s / 3)
            before = dict(self._driven)
            if not before:
                continue
            try:
                await self.parts.runs.renew(self.owner, list(before), lease_s=self.settings.scheduler.lease_s)
                held = await self.parts.runs.held(self.owner)
            except StoreUnavailable as error:
                _log.warning("the leases of runs could not be renewed: %s", error)
                continue
            except Exception:
                _log.exception("renewing the leases of runs failed")
                continue
            await asyncio.sleep(min(1.0, self.settings.scheduler.lease_s / 6))  # for one that is just ending
            for run_id, driven in before.items():
                if run_id not in held and self._driven.get(run_id) is driven and driven.driver:
                    _log.warning("run %s is no longer claimed by us: it was taken over", run_id)
                    driven.driver.cancel()

    async def _sweep(self) -> None:
        try:
            await self._folders.sweep(self.parts.runs)
        except Exception as error:
            _log.warning("folders of ended runs could not be removed: %s", error)

    # -- one run

    def _drive(self, run: Run) -> None:
        earlier = self._driven.get(run.id)  # its lease ended while this machine slept, say
        driven = _Driven(asyncio.Event())
        if run.state is State.CANCELING:
            driven.cancel.set()
        self._driven[run.id] = driven
        driven.driver = asyncio.create_task(
            self._drive_to_end(run, driven, earlier.driver if earlier else None), name=f"run {run.id}"
        )

    async def _drive_to_end(self, run: Run, driven: _Driven, earlier: "asyncio.Task[None] | None") -> None:
        """Call `conduct_run` until it is through, again after whatever passes; end an `earlier` one first."""
        RUN_ID.set(run.id)
        if self.settings.tracing.is_on:
            TRACE_ID.set(trace_of(run.id, run.system_logs).trace_id)
        around = RunSurroundings(
            self.parts, self.engines, self.files_for, self.work_files, self._folders, driven.cancel
        )
        pause_s, failures, steps, is_told = _RETRY_MIN_S, 0, 0, False
        try:
            if earlier is not None:
                earlier.cancel()
                await asyncio.wait({earlier})
            while True:
                try:
                    await conduct_run(run, around)
                    return
                except (ClaimLost, RunNotFound) as error:
                    _log.warning("run %s is no longer ours: %s", run.id, error)
                    return
                except EngineUnusable:  # the lease runs out, and who can use it takes the run
                    return
                except (StoreUnavailable, StorageUnavailable) as error:
                    _log.warning("run %s waits: %s", run.id, error)
                    if isinstance(error, StorageUnavailable) and not is_told:
                        is_told = await self._tell(run, error)
                except Exception as error:
                    failures += 1
                    if not isinstance(error, EngineFailed):
                        _log.exception("driving run %s failed", run.id)
                    elif error.steps > steps:  # it gets on
                        pause_s, failures, steps = _RETRY_MIN_S, 1, error.steps
                    deaths = 1 + sum(line.startswith(_DIED) for line in run.system_logs)
                    if (failures >= _ENGINE_TRIES or deaths >= _DEATHS_MAX) and not run.doomed:
                        await self._give_up(run, around, error)
                        return
                    await self._note(run, error)
                await _pause(pause_s, driven.cancel)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
                try:
                    run = await self._reread(run)
                except RunNotFound:  # it has ended, and was deleted
                    return
        finally:
            if self._driven.get(run.id) is driven:
                del self._driven[run.id]
            self.ended.ring(run.id)
            self._look.set()

    async def _give_up(self, run: Run, around: RunSurroundings, error: Exception) -> None:
        try:
            await fail_run(run, around, f"the workflow engine {run.engine} failed: {error}")
        except (StoreUnavailable, ClaimLost) as failure:
            _log.warning("run %s is tried once more: %s", run.id, failure)

    async def _note(self, run: Run, error: Exception) -> None:
        """Have the run say that its engine failed: by that these are counted."""
        try:
            if not run.doomed:
                line = f"{_DIED}{str(error)[:_REASON_MAX_CHARACTERS]}"
                await self.parts.runs.tell(line, claim=claim_of(run))
        except (StoreUnavailable, ClaimLost) as failure:
            _log.warning("run %s cannot say that its engine failed: %s", run.id, failure)

    async def _tell(self, run: Run, error: StorageUnavailable) -> bool:
        """Have the run say what it waits for; returns whether it does."""
        try:
            await say_that_it_waits(run, str(error), self.parts.runs)
        except (StoreUnavailable, ClaimLost):
            return False
        return True

    async def _reread(self, run: Run) -> Run:
        """The run as it is now, under the claim that its driver holds. Waits for the store."""
        while not run.doomed:
            try:
                return reread(run, await self.parts.runs.get(run.id))
            except StoreUnavailable as error:
                _log.warning("run %s cannot be read: %s", run.id, error)
            await asyncio.sleep(_RETRY_MAX_S / 3)
        return run


async def _pause(pause_s: float, cancel: asyncio.Event) -> None:
    """Wait so long, but not any longer once `cancel` gets set: a cancel is for now."""
    if cancel.is_set():
        await asyncio.sleep(pause_s)
        return
    try:
        async with asyncio.timeout(pause_s):
            await cancel.wait()
    except TimeoutError:
        pass
