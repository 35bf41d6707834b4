"""Settings of WES: workflow runs and their engines."""

from pathlib import Path

from pydantic import Field, field_validator

from tesp_api.settings_base import Table
from tesp_api.settings_engines import CwlSettings, SandboxSettings


class WesSettings(Table):
    """Workflow runs."""

    engines_dir: Path | None = Field(
        None, description="where `tesp engine install` puts engines; engines/ in the data folder, unless set"
    )
    sandbox: SandboxSettings = SandboxSettings()
    cwl: CwlSettings = CwlSettings()

    @field_validator("engines_dir")
    @classmethod
    def _resolved(cls, engines_dir: Path | None) -> Path | None:
        return engines_dir and engines_dir.expanduser().absolute()
