"""The settings of workflow runs (WES)."""

import math
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from tesp_api.settings_base import Seconds, Table
from tesp_api.settings_engines import CwlSettings, SandboxSettings, SnakemakeSettings

Bytes = Annotated[int, Field(gt=0)]


class WesSettings(Table):
    """Workflow runs: where their files are, how many there may be, and the engines that expand them."""

    work_url: str | None = Field(
        None,
        description="where runs leave their files, each in a folder of its own: /shared/tesp/runs, or "
        "s3://lab/runs/, which the sites must reach; wes/work in the data folder, unless set",
    )
    running_max: int = Field(20, ge=1, description="runs that this server expands at one time; others wait")
    running_reserved: int | None = Field(
        None,
        ge=0,
        description="the last of these are for users of whom no run is expanded; a quarter of running_max, "
        "unless set, and none where nobody logs in",
    )
    live_max: int = Field(100, ge=1, description="runs of one user that have not ended")
    steps_max: int = Field(100_000, ge=1, description="steps of one run; one with more ends")
    engine_silence_s: Seconds = Field(
        3600.0,
        description="a run ends if none of its steps runs and its engine says nothing for so many seconds",
    )
    max_body_bytes: Bytes = Field(
        256 * 1024**2, description="of a request that starts a run, with its attachments"
    )
    engines_dir: Path | None = Field(
        None, description="where `tesp engine install` puts engines; engines/ in the data folder, unless set"
    )
    sandbox: SandboxSettings = SandboxSettings()
    cwl: CwlSettings = CwlSettings()
    snakemake: SnakemakeSettings = SnakemakeSettings()

    @field_validator("work_url")
    @classmethod
    def _can_be_used(cls, url: str | None) -> str | None:
        if url is None or re.fullmatch(r"(file://)?/[^\x00-\x1f?#%]+", url):
            return url
        if re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9._-]+[A-Za-z0-9](/[^\x00-\x1f?#%]*)?", url):
            return url
        raise ValueError("must be an absolute path, file:///path, or s3://bucket/prefix, without % ? and #")

    @model_validator(mode="after")
    def _leaves_some_to_all(self) -> "WesSettings":
        if self.reserved >= self.running_max:
            raise ValueError("running_reserved must be less than running_max")
        return self

    @property
    def reserved(self) -> int:
        """How many places are for users of whom no run is expanded."""
        if self.running_reserved is not None:
            return self.running_reserved
        return min(self.running_max - 1, math.ceil(self.running_max / 4))

    @field_validator("engines_dir")
    @classmethod
    def _resolved(cls, engines_dir: Path | None) -> Path | None:
        return engines_dir and engines_dir.expanduser().absolute()
