"""What `tesp doctor` says of workflow engines: a server without any runs tasks, and no workflows."""

from collections.abc import Iterator

from tesp_api.cli.check import Check
from tesp_api.cli.engine import engine_environments
from tesp_api.settings import Settings
from tesp_api.wes.engines.cwl.engine import CwlEngine
from tesp_api.wes.engines.snakemake.engine import SnakemakeEngine


def engine_checks(settings: Settings) -> Iterator[Check]:
    """One for each engine."""
    engines = {engine.name: engine for engine in (CwlEngine(settings), SnakemakeEngine(settings))}
    for name, environment in engine_environments(settings).items():
        label = f"workflow engine {name}"
        if not environment.is_installed:
            yield Check(
                label, "ok", f"not installed; `tesp engine install {name}` lets the server run workflows"
            )
            continue
        fault = engines[name].check()
        if fault:
            yield Check(label, "fail", "cannot be used", fault)
        else:
            yield Check(label, "ok", f"{environment.package} {environment.version}")
