"""The engine `cwl`: for each run an expander in a sandbox, and what it asks for done in its name."""

import contextlib
from pathlib import Path
from types import MappingProxyType

from tesp_api.settings import Settings
from tesp_api.wes.engines.base import EngineRun
from tesp_api.wes.engines.environments import EngineEnvironment, engines_folder
from tesp_api.wes.engines.expander_engine import ExpanderEngine

_HERE = Path(__file__).parent
_CHOICES = {"on_error": ("stop", "continue")}
_LONGEST_EVAL_S = 3600.0


def cwl_environment(settings: Settings) -> EngineEnvironment:
    """Where cwltool is, or is to be."""
    return EngineEnvironment("cwl", "cwltool", _HERE / "requirements.txt", engines_folder(settings))


class CwlEngine(ExpanderEngine):
    """cwltool as a library; see `expander` for the process that has it."""

    name = "cwl"
    workflow_types = MappingProxyType({"CWL": ("v1.0", "v1.1", "v1.2")})

    def __init__(self, settings: Settings) -> None:
        parameters = {
            "on_error": "stop",
            "default_image": settings.wes.cwl.default_image,
            "eval_timeout_s": "60",
        }
        environment = cwl_environment(settings)
        super().__init__(environment, settings, parameters, keeps_spare=settings.wes.cwl.spare)

    def parameters_of(self, run: EngineRun) -> dict[str, str]:
        """See `ExpanderEngine.parameters_of`."""
        given = {name: value for name, value in run.engine_parameters.items() if name in self.parameters}
        found = {**self.parameters, **{name: str(value) for name, value in given.items() if value}}
        for name, choices in _CHOICES.items():
            if found[name] not in choices:
                raise ValueError(f"the engine parameter {name} must be one of {', '.join(choices)}")
        with contextlib.suppress(ValueError):
            if 0 < float(found["eval_timeout_s"]) <= _LONGEST_EVAL_S:
                return found
        raise ValueError(f"the engine parameter eval_timeout_s must be a number up to {_LONGEST_EVAL_S:g}")
