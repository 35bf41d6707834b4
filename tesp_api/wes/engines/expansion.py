"""One expansion of a run, by whichever engine: an expander is told what to do, and served."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any, Literal, TypeVar

from tesp_api.errors import EngineDied, RunCanceled
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome, EngineRun, RunHost
from tesp_api.wes.engines.errands import Errands
from tesp_api.wes.engines.process import ExpanderProcess

_T = TypeVar("_T")
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
"""What an expander says of the end, and what a run shows: its state, and an exit code (those of cwltool)."""

_REASON_MAX_CHARACTERS = 16_000
_SILENT = (
    "no step of the run was running, and its engine said nothing for {:g} seconds (wes.engine_silence_s): "
    "the workflow waits for something, or does not end"
)


class _Silent(Exception):
    """An expander says nothing, and no step of it runs."""


async def expand(
    process: ExpanderProcess,
    run: EngineRun,
    host: RunHost,
    parameters: Mapping[str, str],
    *,
    silence_s: float,
) -> EngineOutcome:
    """Have the process expand the run with these parameters; it is closed in the end.

    One that says nothing for `silence_s`, while no step runs, is not waited for any longer.

    Raises:
        EngineDied: it has died without a last word.
        StoreUnavailable: as the host says.
    """
    async with contextlib.aclosing(process), Errands(run, host) as errands:
        await process.send(
            {
                "run_id": run.id,
                "workflow_url": run.workflow_url,
                "params": dict(run.workflow_params),
                "parameters": dict(parameters),
                "work_url": run.work_url,
                "known_keys": list(await host.known_keys()),
            }
        )
        try:
            end = await _serve(process, errands, silence_s)
        except RunCanceled:
            return EngineOutcome(State.CANCELED, None, reason="the run was canceled")
        except _Silent:
            await errands.finish_log()
            return EngineOutcome(*_BROKEN, reason=_SILENT.format(silence_s))
        if end is None:
            raise EngineDied(await process.death())
    state, exit_code = _ENDS.get(str(end.get("status")), _BROKEN)
    return EngineOutcome(state, exit_code, end.get("outputs") or {}, _cut(str(end.get("reason") or "")))


def _cut(reason: str) -> str:
    if len(reason) <= _REASON_MAX_CHARACTERS:
        return reason
    return f"{reason[:_REASON_MAX_CHARACTERS]}... (cut: it has {len(reason)} characters)"


async def _serve(process: ExpanderProcess, errands: Errands, silence_s: float) -> dict[str, Any] | None:
    """Do what the expander asks for, all at once, until its last word, which is returned; None without one.

    Raises:
        RunCanceled, StoreUnavailable: as the host says.
        _Silent: it says nothing, and waits for nothing.
    """
    while True:
        message = await _unless_failed(_next_message(process, errands, silence_s), errands)
        if message is None or message.get("call") == "end":
            await errands.finish_log()
            return message
        await _unless_failed(errands.start(message, process.send), errands)


async def _next_message(
    process: ExpanderProcess, errands: Errands, silence_s: float
) -> dict[str, Any] | None:
    """Raises: _Silent if none comes."""
    receiving = asyncio.ensure_future(process.receive())
    try:
        while errands.quiet_s < silence_s:
            done, _ = await asyncio.wait({receiving}, timeout=silence_s - errands.quiet_s)
            if done:
                return receiving.result()
        raise _Silent
    finally:
        receiving.cancel()


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
