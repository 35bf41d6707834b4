"""The engine `snakemake`: for each run an expander, in which Snakemake has its jobs run as tasks."""

import re
import shlex
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from tesp_api.settings import Settings
from tesp_api.wes.engines.base import EngineRun
from tesp_api.wes.engines.environments import EngineEnvironment, engines_folder
from tesp_api.wes.engines.expander_engine import ExpanderEngine
from tesp_api.wes.engines.sandbox import Workspace
from tesp_api.wes.engines.snakemake.expander import WORKDIR

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
    return EngineEnvironment("snakemake", "snakemake", _HERE / "requirements.txt", engines_folder(settings))


class SnakemakeEngine(ExpanderEngine):
    """Snakemake as a library; see `expander` for the process that has it."""

    name = "snakemake"
    workflow_types = MappingProxyType({"SMK": _VERSIONS, "Snakemake": _VERSIONS})

    def __init__(self, settings: Settings) -> None:
        parameters = {
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
        super().__init__(
            snakemake_environment(settings),
            settings,
            parameters,
            keeps_spare=settings.wes.snakemake.spare,
            workspace=Workspace(PurePosixPath(WORKDIR), _WORKSPACE_BYTES),
        )

    def parameters_of(self, run: EngineRun) -> dict[str, str]:
        """See `ExpanderEngine.parameters_of`."""
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
