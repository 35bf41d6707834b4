"""From a valid request to a stored run, with its attachments where its tasks will find them."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from tesp_api.bell import Bell
from tesp_api.context import TRACEPARENT
from tesp_api.errors import Fault, InvalidRequest, NothingStored, RunNotFound, StoreUnavailable
from tesp_api.settings import Settings
from tesp_api.storage.work_files import WorkFiles
from tesp_api.storage.work_places import attachment_url, run_url
from tesp_api.store.base import CREATED_BY, OnceKey
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run, RunStore, too_many_live
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now
from tesp_api.tracing.run_spans import request_line
from tesp_api.wes.clients_files import with_attached_files
from tesp_api.wes.earlier_runs import FindRun, with_earlier_outputs
from tesp_api.wes.engines.base import WorkflowEngine
from tesp_api.wes.requests import RESUME, NewRun

_RESUME_FIELD = f"workflow_engine_parameters.{RESUME}"
_log = logging.getLogger(__name__)

PlaceFaults = Callable[[str, str], Sequence[Fault]]
"""Why no task of an owner could leave files in a folder."""


class RunCreation:
    """Stores runs and wakes the conductor."""

    def __init__(
        self,
        runs: RunStore,
        files: WorkFiles,
        bell: Bell,
        settings: Settings,
        engines: Mapping[str, WorkflowEngine],
        place_faults: PlaceFaults,
    ) -> None:
        self._runs = runs
        self._files = files
        self._bell = bell
        self._settings = settings
        self._engines = engines
        self._place_faults = place_faults

    async def installed(self) -> dict[str, tuple[WorkflowEngine, str]]:
        """The engines that can be used now, with their versions, by name."""
        versions = await asyncio.gather(*(engine.version() for engine in self._engines.values()))
        found = zip(self._engines.items(), versions, strict=True)
        return {name: (engine, version) for (name, engine), version in found if version is not None}

    async def create(
        self,
        new: NewRun,
        attached: Sequence[tuple[str, BinaryIO]],
        *,
        owner: str,
        groups: Sequence[str],
        find: FindRun,
        request_id: str,
        once: OnceKey | None = None,
    ) -> str:
        """Store the run and ring; returns its id, or that of the run that was stored under `once` before.

        `find` finds earlier runs, as the owner sees them.

        Raises:
            KeyReused: that run is another one.
            InvalidRequest: an earlier run cannot be used, or no destination reaches the run's files.
            LimitReached: the owner has as many as may be.
            StorageUnavailable, StoreUnavailable: nothing is stored.
        """
        if once is not None and (known := await self._runs.find_once(owner, once)):
            return known
        params, uses = await with_earlier_outputs(new.document["workflow_params"], find)
        params, told = await asyncio.to_thread(with_attached_files, params, new.attachments, self._settings)
        if new.resumes:
            await _check_can_be_resumed(new.resumes, find)
            uses = sorted({*uses, new.resumes})
        await self._check_may_have_more(owner)
        run_id = new_task_id()
        work_url = run_url(self._settings, run_id)
        if faults := self._place_faults(owner, work_url):
            raise InvalidRequest([_unreachable(work_url, faults)])
        traced = request_line(TRACEPARENT.get(), request_id)
        run = Run(
            id=run_id,
            owner=owner,
            state=State.QUEUED,
            created_at=now(),
            request=new.document,
            engine=new.engine,
            work_url=work_url,
            params=None if params == new.document["workflow_params"] else params,
            resumes=new.resumes,
            uses=uses,
            groups=groups,
            system_logs=(
                f"{CREATED_BY}{request_id}",
                *([traced] if traced else ()),
                *new.warnings,
                *told,
            ),
        )
        await self._attach(work_url, attached, owner)
        stored_id = await self._store(run, once)
        if stored_id != run_id:  # the same request came at the same time
            await self._forget_files(work_url, owner)
        self._bell.ring(stored_id)
        return stored_id

    async def _check_may_have_more(self, owner: str) -> None:
        live, live_max = await self._runs.count_live(owner), self._settings.wes.live_max
        if live >= live_max:
            raise too_many_live(live_max, live)

    async def _attach(self, work_url: str, attached: Sequence[tuple[str, BinaryIO]], owner: str) -> None:
        try:
            for name, file in attached:
                await self._files.put(attachment_url(work_url, name), file, owner=owner)
        except Exception:
            await self._forget_files(work_url, owner)
            raise

    async def _store(self, run: Run, once: OnceKey | None) -> str:
        try:
            return await self._runs.create(run, once=once, live_max=self._settings.wes.live_max)
        except NothingStored:
            await self._forget_files(run.work_url, run.owner)
            raise
        except StoreUnavailable:
            raise  # whether it is stored is not known, so its files stay
        except RunNotFound as error:
            await self._forget_files(run.work_url, run.owner)
            field = _RESUME_FIELD if error.run_id == run.resumes else "workflow_params"
            raise InvalidRequest([Fault(field, str(error))]) from None
        except Exception:
            await self._forget_files(run.work_url, run.owner)
            raise

    async def _forget_files(self, work_url: str, owner: str) -> None:
        try:
            await self._files.remove(work_url, owner=owner)
        except Exception as error:
            _log.warning("attachments of a run that was not stored are left at %s: %s", work_url, error)


async def _check_can_be_resumed(run_id: str, find: FindRun) -> None:
    field = _RESUME_FIELD
    try:
        run = await find(run_id)
    except RunNotFound as error:
        raise InvalidRequest([Fault(field, str(error))]) from None
    if run.state not in RUN_FINAL:
        raise InvalidRequest([Fault(field, f"run {run_id} is {run.state}: cancel it, or wait for its end")])


def _unreachable(work_url: str, faults: Sequence[Fault]) -> Fault:
    said = "; ".join(fault.message for fault in faults)
    return Fault("work storage", f"no task could leave files in {work_url} (setting wes.work_url): {said}")
