"""What all engines are that expand a run in a process of its own: an environment, a sandbox, an expansion."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from tesp_api.errors import EngineDied, EngineUnusable
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome, EngineRun, RunHost
from tesp_api.wes.engines.environments import EngineEnvironment
from tesp_api.wes.engines.expansion import expand
from tesp_api.wes.engines.file_objects import file_faults
from tesp_api.wes.engines.sandbox import Sandbox, Workspace
from tesp_api.wes.engines.spares import Spares

_FAULTS_MAX = 20
"""So many of a request's faults are told."""


class ExpanderEngine(ABC):
    """A `WorkflowEngine` whose expander is the package `expander` beside it. `parameters` are its engine
    parameters with their defaults; with `keeps_spare` a process waits for the next run.
    """

    name: ClassVar[str]
    workflow_types: ClassVar[Mapping[str, Sequence[str]]]

    def __init__(
        self,
        environment: EngineEnvironment,
        settings: Settings,
        parameters: Mapping[str, str],
        *,
        keeps_spare: bool,
        workspace: Workspace | None = None,
    ) -> None:
        self.parameters: Mapping[str, str] = MappingProxyType(dict(parameters))
        self._environment = environment
        self._sandbox = Sandbox(environment, settings.wes.sandbox, workspace)
        self._spares = Spares(self._sandbox)
        self._silence_s = settings.wes.engine_silence_s
        self._keeps_spare = keeps_spare

    @abstractmethod
    def parameters_of(self, run: EngineRun) -> dict[str, str]:
        """What the expander is told: those of the run over the defaults.

        Raises:
            ValueError: naming one that does not fit.
        """

    async def open(self) -> None:
        """Make an expander ready, meanwhile."""
        if self._keeps_spare:
            await self._spares.open()

    async def aclose(self) -> None:
        """End the one that waits for a run."""
        await self._spares.aclose()

    async def version(self) -> str | None:
        """That of the engine's own package."""
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
            parameters = self.parameters_of(run)
        except ValueError as error:
            return _refused(str(error))
        if faults := await asyncio.to_thread(lambda: list(file_faults(run.workflow_params))):
            return _refused("\n".join(faults[:_FAULTS_MAX]))
        process = await self._spares.take()
        try:
            return await expand(process, run, host, parameters, silence_s=self._silence_s)
        except EngineDied as error:
            if fault := await asyncio.to_thread(self.check):
                raise EngineUnusable(fault) from error
            raise


def _refused(reason: str) -> EngineOutcome:
    return EngineOutcome(State.EXECUTOR_ERROR, 1, reason=reason)
