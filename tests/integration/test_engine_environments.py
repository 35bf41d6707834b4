"""Locked environments of engines: made whole or not at all."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tesp_api.cli.main import app
from tesp_api.errors import EngineUnusable
from tesp_api.settings import Settings
from tesp_api.wes.engines.cwl.engine import cwl_environment
from tesp_api.wes.engines.environments import EngineEnvironment
from tests.services.cwl_engine import engines_folder

LOCKED = """six==1.17.0 \\
    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
"""


def small(folder: Path, requirements: str = LOCKED) -> EngineEnvironment:
    """An environment of a single small package."""
    file = folder / "requirements.txt"
    file.write_text(requirements)
    return EngineEnvironment("small", "six", file, folder / "engines")


@pytest.mark.services
def test_it_is_made_once(tmp_path: Path) -> None:
    environment = small(tmp_path)
    assert not environment.is_installed and environment.version is None
    with pytest.raises(EngineUnusable, match="`tesp engine install small`"):
        environment.require()
    environment.install()
    environment.require()
    assert environment.version == "1.17.0"
    made = environment.folder.stat().st_ino
    environment.install()
    assert environment.folder.stat().st_ino == made
    told = subprocess.run(
        [environment.python, "-I", "-c", "import six; print(six.__file__)"], capture_output=True
    )
    assert told.stdout.decode().startswith(str(environment.folder))


@pytest.mark.services
def test_what_is_not_as_it_was_locked_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    environment = small(tmp_path, LOCKED.replace("4721", "4722"))
    with pytest.raises(EngineUnusable, match="its packages cannot be installed"):
        environment.install()
    assert not environment.is_installed
    assert [path.name for path in (tmp_path / "engines").iterdir()] == ["lock"]


@pytest.mark.services
def test_what_is_half_made_is_not_used_and_is_made_anew(tmp_path: Path) -> None:
    environment = small(tmp_path)
    half = environment.folder.with_name(f"{environment.folder.name}.part")
    (half / "bin").mkdir(parents=True)
    environment.folder.mkdir()
    assert not environment.is_installed
    environment.install()
    assert environment.version == "1.17.0"
    assert not half.exists()


def test_another_lock_is_another_environment(tmp_path: Path) -> None:
    first = small(tmp_path).folder
    first.mkdir(parents=True)
    second = small(tmp_path, LOCKED.replace("1.17.0", "1.16.0"))
    assert second.folder != first
    assert second.others == [first]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    with pytest.raises(EngineUnusable, match="cannot write to"):
        small(tmp_path).install()


@pytest.mark.services
def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_WES__ENGINES_DIR", str(engines_folder()))
    run = CliRunner().invoke
    listed = run(app, ["engine", "list", "--json", "--data", str(tmp_path)])
    engine, _ = json.loads(listed.output)["engines"]
    version = cwl_environment(Settings.model_validate({"wes": {"engines_dir": engines_folder()}})).version
    assert (engine["name"], engine["version"]) == ("cwl", version)
    again = run(app, ["engine", "install", "cwl", "--data", str(tmp_path)])
    assert again.exit_code == 0 and f"cwl was installed already: cwltool {version}" in again.output
    shown = run(app, ["engine", "list", "--data", str(tmp_path)])
    assert version and version in shown.output
    unknown = run(app, ["engine", "install", "wdl", "--data", str(tmp_path)])
    assert unknown.exit_code == 2 and "there is no engine 'wdl': there are cwl, snakemake" in unknown.output


def test_without_any_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_WES__ENGINES_DIR", str(tmp_path / "engines"))
    shown = CliRunner().invoke(app, ["engine", "list", "--data", str(tmp_path)])
    assert shown.exit_code == 0 and "not installed" in shown.output
