"""The engine `cwl`: for each run an expander in a sandbox, and what it asks for done in its name."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from tesp_api.errors import EngineDied, EngineUnusable, RunCanceled
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome, EngineRun, RunHost
from tesp_api.wes.engines.cwl.errands import Errands
from tesp_api.wes.engines.cwl.process import ExpanderProcess
from tesp_api.wes.engines.cwl.spares import Spares
from tesp_api.wes.engines.environments import EngineEnvironment
from tesp_api.wes.engines.sandbox import Sandbox

_T = TypeVar("_T")
_HERE = Path(__file__).parent
_End = Literal[State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR]
_BROKEN: tuple[_End, int | None] = (State.SYSTEM_ERROR, None)
_ENDS: Mapping[str, tuple[_End, int | None]] = {
    "success": (State.COMPLETE, 0),
    "permanentFail": (State.EXECUTOR_ERROR, 1),
    "temporaryFail": (State.EXECUTOR_ERROR, 1),
    "unsupported": (State.EXECUTOR_ERROR, 33),
    "systemFail": _BROKEN,
    "broken": _BROKEN,
}
"""What the expander says of the end, and what a run shows: its state, and the exit code of cwltool."""

_CHOICES = {"on_error": ("stop", "continue")}
_LONGEST_EVAL_S = 3600.0
_REASON_MAX_CHARACTERS = 16_000


def cwl_environment(settings: Settings) -> EngineEnvironment:
    """Where cwltool is, or is to be."""
    base = settings.wes.engines_dir or settings.data_dir / "engines"
    return EngineEnvironment("cwl", "cwltool", _HERE / "requirements.txt", base)


class CwlEngine:
    """cwltool as a library; see `expander` for the process that has it."""

    name = "cwl"
    workflow_types = MappingProxyType({"CWL": ("v1.0", "v1.1", "v1.2")})

    def __init__(self, settings: Settings) -> None:
        self._environment = cwl_environment(settings)
        self._sandbox = Sandbox(self._environment, _HERE, settings.wes.sandbox)
        self._spares = Spares(self._sandbox)
        self._keeps_spare = settings.wes.cwl.spare
        self.parameters: Mapping[str, str] = MappingProxyType(
            {"on_error": "stop", "default_image": settings.wes.cwl.default_image, "eval_timeout_s": "60"}
        )

    async def open(self) -> None:
        """Make an expander ready, meanwhile."""
        if self._keeps_spare:
            await self._spares.open()

    async def aclose(self) -> None:
        """End the one that waits for a run."""
        await self._spares.aclose()

    async def version(self) -> str | None:
        """That of cwltool."""
        return await asyncio.to_thread(lambda: self._environment.version)

    @property
    def fault(self) -> str:
        """Why it cannot run here, and what the operator has to do; "" if it can."""
        try:
            self._environment.require()
        except EngineUnusable as error:
            return str(error)
        return self._sandbox.fault

    def check(self) -> str:
        """Like `fault`, by starting something in the sandbox."""
        if fault := self.fault:
            return fault
        failed = self._sandbox.check()
        return f"the sandbox of workflows does not start on this machine: {failed}" if failed else ""

    async def execute(self, run: EngineRun, host: RunHost) -> EngineOutcome:
        """Start an expander and serve it until it has said how the run ended.

        Raises:
            EngineUnusable: the engine is not installed, or must not run here.
            EngineDied: the expander has died without a last word.
        """
        try:
            parameters = self._parameters_of(run)
            process = await self._spares.take()
        except ValueError as error:
            return EngineOutcome(State.EXECUTOR_ERROR, 1, reason=str(error))
        order = {
            "run_id": run.id,
            "workflow_url": run.workflow_url,
            "params": dict(run.workflow_params),
            "parameters": parameters,
            "work_url": run.work_url,
        }
        async with contextlib.aclosing(process), Errands(run, host) as errands:
            await process.send(order)
            try:
                end = await _serve(process, errands)
            except RunCanceled:
                return EngineOutcome(State.CANCELED, None, reason="the run was canceled")
            if end is None:
                raise EngineDied(await process.death())
        state, exit_code = _ENDS.get(str(end.get("status")), _BROKEN)
        reason = _cut(str(end.get("reason") or ""))
        return EngineOutcome(state, exit_code, end.get("outputs") or {}, reason)

    def _parameters_of(self, run: EngineRun) -> dict[str, str]:
        """Those of the run over the defaults. Raises: ValueError naming one that does not fit."""
        given = {name: value for name, value in run.engine_parameters.items() if name in self.parameters}
        found = {**self.parameters, **{name: str(value) for name, value in given.items() if value}}
        for name, choices in _CHOICES.items():
            if found[name] not in choices:
                raise ValueError(f"the engine parameter {name} must be one of {', '.join(choices)}")
        with contextlib.suppress(ValueError):
            if 0 < float(found["eval_timeout_s"]) <= _LONGEST_EVAL_S:
                return found
        raise ValueError(f"the engine parameter eval_timeout_s must be a number up to {_LONGEST_EVAL_S:g}")


def _cut(reason: str) -> str:
    if len(reason) <= _REASON_MAX_CHARACTERS:
        return reason
    return f"{reason[:_REASON_MAX_CHARACTERS]}... (cut: it has {len(reason)} characters)"


async def _serve(process: ExpanderProcess, errands: Errands) -> dict[str, Any] | None:
    """Do what the expander asks for, all at once, until its last word, which is returned; None without one.

    Raises:
        RunCanceled, StoreUnavailable: as the host says.
    """
    while True:
        message = await _unless_failed(process.receive(), errands)
        if message is None or message.get("call") == "end":
            await errands.finish_log()
            return message
        await _unless_failed(errands.start(message, process.send), errands)


async def _unless_failed(coroutine: Coroutine[Any, Any, _T], errands: Errands) -> _T:
    doing = asyncio.ensure_future(coroutine)
    awaited: set[asyncio.Future[Any]] = {doing, errands.failed}
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if errands.failed.done():
            errands.failed.result()
        return await doing
    finally:
        doing.cancel()
