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


async def expand(
    process: ExpanderProcess, run: EngineRun, host: RunHost, parameters: Mapping[str, str]
) -> EngineOutcome:
    """Have the process expand the run with these parameters; it is closed in the end.

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
            end = await _serve(process, errands)
        except RunCanceled:
            return EngineOutcome(State.CANCELED, None, reason="the run was canceled")
        if end is None:
            raise EngineDied(await process.death())
    state, exit_code = _ENDS.get(str(end.get("status")), _BROKEN)
    return EngineOutcome(state, exit_code, end.get("outputs") or {}, _cut(str(end.get("reason") or "")))


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
