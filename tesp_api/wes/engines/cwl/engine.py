"""The engine `cwl`: for each run an expander in a sandbox, and what it asks for done in its name."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tesp_api.errors import EngineDied, EngineUnusable
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome, EngineRun, RunHost
from tesp_api.wes.engines.environments import EngineEnvironment
from tesp_api.wes.engines.expansion import expand
from tesp_api.wes.engines.sandbox import Sandbox
from tesp_api.wes.engines.spares import Spares

_HERE = Path(__file__).parent
_CHOICES = {"on_error": ("stop", "continue")}
_LONGEST_EVAL_S = 3600.0


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
        self._sandbox = Sandbox(self._environment, settings.wes.sandbox)
        self._spares = Spares(self._sandbox)
        self._silence_s = settings.wes.engine_silence_s
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
        try:
            return await expand(process, run, host, parameters, silence_s=self._silence_s)
        except EngineDied as error:
            if fault := await asyncio.to_thread(self.check):
                raise EngineUnusable(fault) from error
            raise

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
