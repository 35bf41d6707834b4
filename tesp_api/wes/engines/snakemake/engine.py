"""The engine `snakemake`: for each run an expander, in which Snakemake has its jobs run as tasks."""

import asyncio
import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from tesp_api.errors import EngineDied, EngineUnusable
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome, EngineRun, RunHost
from tesp_api.wes.engines.environments import EngineEnvironment
from tesp_api.wes.engines.expansion import expand
from tesp_api.wes.engines.sandbox import Sandbox, Workspace
from tesp_api.wes.engines.snakemake.expander import WORKDIR
from tesp_api.wes.engines.spares import Spares

_HERE = Path(__file__).parent
_VERSIONS = ("9", "9.27", "9.27.1", "1.0")
"""Of the language there are none; 1.0 is what clients of other servers say."""

_FORMS = {
    "jobs": (r"[1-9]\d{0,5}", "a number of tasks"),
    "retries": (r"\d{1,3}", "a number"),
    "max_threads": (r"|[1-9]\d{0,3}", "a number of threads"),
    "keep_going": (r"true|false", "true or false"),
    "default_image": (r"[^\s-]\S*", "the name of an image"),
    "snakemake_image": (r"|[^\s-]\S*", "the name of an image"),
}
_WORDS = ("targets", "configfiles", "default_resources", "until", "omit_from")
_WORKSPACE_BYTES = 256 * 1024**2


def snakemake_environment(settings: Settings) -> EngineEnvironment:
    """Where Snakemake is, or is to be."""
    base = settings.wes.engines_dir or settings.data_dir / "engines"
    return EngineEnvironment("snakemake", "snakemake", _HERE / "requirements.txt", base)


class SnakemakeEngine:
    """Snakemake as a library; see `expander` for the process that has it."""

    name = "snakemake"
    workflow_types = MappingProxyType({"SMK": _VERSIONS, "Snakemake": _VERSIONS})

    def __init__(self, settings: Settings) -> None:
        self._environment = snakemake_environment(settings)
        workspace = Workspace(PurePosixPath(WORKDIR), _WORKSPACE_BYTES)
        self._sandbox = Sandbox(self._environment, settings.wes.sandbox, workspace)
        self._spares = Spares(self._sandbox)
        self._silence_s = settings.wes.engine_silence_s
        self._keeps_spare = settings.wes.snakemake.spare
        self.parameters: Mapping[str, str] = MappingProxyType(
            {
                "targets": "",
                "configfiles": "",
                "jobs": "1000",
                "max_threads": "",
                "default_resources": "",
                "retries": "0",
                "keep_going": "false",
                "until": "",
                "omit_from": "",
                "default_image": settings.wes.snakemake.default_image,
                "snakemake_image": settings.wes.snakemake.snakemake_image,
            }
        )

    async def open(self) -> None:
        """Make an expander ready, meanwhile."""
        if self._keeps_spare:
            await self._spares.open()

    async def aclose(self) -> None:
        """End the one that waits for a run."""
        await self._spares.aclose()

    async def version(self) -> str | None:
        """That of Snakemake."""
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
        except ValueError as error:
            return EngineOutcome(State.EXECUTOR_ERROR, 1, reason=str(error))
        process = await self._spares.take()
        try:
            return await expand(process, run, host, parameters, silence_s=self._silence_s)
        except EngineDied as error:
            if fault := await asyncio.to_thread(self.check):
                raise EngineUnusable(fault) from error
            raise

    def _parameters_of(self, run: EngineRun) -> dict[str, str]:
        """Those of the run over the defaults. Raises: ValueError naming one that does not fit."""
        asked = {
            name: str(value)
            for name, value in run.engine_parameters.items()
            if name in self.parameters and value != ""
        }
        found = {**self.parameters, **asked}
        for name, (form, said) in _FORMS.items():
            if not re.fullmatch(form, found[name]):
                raise ValueError(f"the engine parameter {name} must be {said}")
        for name in _WORDS:
            try:
                shlex.split(found[name])
            except ValueError as error:
                said = f"the engine parameter {name} must be words, quoted as in a shell"
                raise ValueError(f"{said}: {error}") from error
        return {**found, "image_is_chosen": "true" if "default_image" in asked else "false"}
