"""Snakemake's own environment for tests, settings of a server that has it, and runs of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tesp_api.settings import Settings
from tesp_api.wes.engines.base import EngineRun
from tesp_api.wes.engines.snakemake.engine import snakemake_environment
from tests.acceptance.workflow_runs import WES
from tests.services.install import VENVS
from tests.services.plain_run_host import engine_run
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer


def snakemake_folder() -> Path:
    """Where engines are, this one among them, which is made the first time."""
    folder = VENVS / "engines"
    snakemake_environment(Settings(wes={"engines_dir": folder})).install()
    return folder


def snakemake_settings(data: Path, **more: Any) -> Settings:
    """Settings with the engine, which keeps no process ready."""
    wes = {"engines_dir": snakemake_folder(), "snakemake": {"spare": False, **more.pop("snakemake", {})}}
    return Settings.model_validate({"data_dir": data, "wes": {**wes, **more.pop("wes", {})}, **more})


def snakemake_run(
    folder: Path, files: Mapping[str, str], params: Mapping[str, Any] | None = None, **changes: Any
) -> EngineRun:
    """A run of the first of the files."""
    values = {"workflow_type": "SMK", "workflow_type_version": "9"}
    run = engine_run(folder, next(iter(files)), params or {}, **{**values, **changes})
    for name, text in files.items():
        path = run.attachments / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return run


def snakemake_server(environment: Mapping[str, str] | None = None) -> TespServer:
    """A server with the engine, in bubblewrap."""
    engines = {"TESP_API_WES__ENGINES_DIR": str(snakemake_folder())}
    return TespServer({**ONLY_BUBBLEWRAP, **engines, **(environment or {})})


def submit(
    server: TespServer,
    files: Mapping[str, str],
    params: Mapping[str, Any] | None = None,
    parameters: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Start a run of the first of the files; returns its id."""
    fields = {
        "workflow_type": "snakemake",
        "workflow_type_version": "9",
        "workflow_url": next(iter(files)),
        "workflow_params": json.dumps(dict(params or {})),
        "workflow_engine_parameters": json.dumps(dict(parameters or {})),
    }
    attached = [("workflow_attachment", (name, text)) for name, text in files.items()]
    answer = server.client.post(f"{WES}/runs", data=fields, files=attached, headers=dict(headers or {}))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])
