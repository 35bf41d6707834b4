"""The CWL engine's own environment for tests, and settings of a server that has it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tesp_api.settings import Settings
from tesp_api.wes.engines.cwl.engine import cwl_environment
from tests.services.install import VENVS


def engines_folder() -> Path:
    """Where engines are, which is made the first time; safe to call from several processes at once."""
    folder = VENVS / "engines"
    cwl_environment(Settings(wes={"engines_dir": folder})).install()
    return folder


def engine_settings(
    data: Path,
    roots: Sequence[Mapping[str, Any]] = (),
    *,
    default_image: str = "debian:bookworm-slim",
    **more: Any,
) -> Settings:
    """Settings with the engine, and with file roots at the embedded destination."""
    wes = {"engines_dir": engines_folder(), "cwl": {"default_image": default_image}, **more.pop("wes", {})}
    sites = {"local": {"file_roots": [dict(root) for root in roots]}}
    return Settings.model_validate({"data_dir": data, "wes": wes, "destinations": sites, **more})
