"""The examples of docs/operations.md can be used; what docs/troubleshooting.md quotes is what is said."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

from tesp_api.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
MANAGERS = {"queued_python", "queued_drmaa", "queued_cli", "queued_condor"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", blocks("toml"))
def test_every_example_of_settings_is_valid(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text(example)
    monkeypatch.setenv("TESP_API_SETTINGS", str(tmp_path / "settings.toml"))
    named = re.findall(r"^\[default\.destinations\.(\w+)\]$", example, re.MULTILINE)
    assert sorted(load_settings().destinations) == sorted(named or ["local"])


def test_the_secrets_of_the_environment_have_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.toml").write_text(
        "[default.destinations.cluster]\nkind = 'rest'\nurl = 'https://h'\n"
        "[default.destinations.far]\nkind = 'amqp'\n"
    )
    monkeypatch.setenv("TESP_API_SETTINGS", str(tmp_path / "settings.toml"))
    [shown] = (block for block in blocks("sh") if "SECRET_KEY" in block)
    secrets = dict(re.findall(r"^(TESP_API_\w+)=(\S+)", shown, re.MULTILINE))
    for name, value in (secrets | {"TESP_API_SECRET_KEY": "k" * 32}).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.secret_key and settings.destinations["cluster"].private_token
    assert (settings.store.kind, settings.destinations["far"].kind) == ("mongodb", "amqp")


@pytest.mark.parametrize("example", blocks("yaml"))
def test_every_app_yml_has_managers(example: str) -> None:
    managers = yaml.safe_load(example)["managers"]
    assert {manager["type"] for manager in managers.values()} <= MANAGERS


def test_each_destination_of_a_manager_comes_with_it() -> None:
    named = {name for example in blocks("toml") for name in re.findall(r'^manager = "(\w+)"', example, re.M)}
    assert named == {name for example in blocks("yaml") for name in yaml.safe_load(example)["managers"]} - {
        "_default_"
    }


def test_the_unit_lets_jobs_live() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    [text] = blocks("ini")
    unit.read_string(text)
    assert unit["Service"]["KillMode"] == "process"
    assert float(unit["Service"]["TimeoutStopSec"]) > load_settings().server.drain_s


def test_what_a_log_or_a_history_says_is_what_the_server_says() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "tesp_api").rglob("*.py"))
    source = re.sub(r"%s|%d|\{[^{}]*\}", "\0", source)
    waiting = TROUBLESHOOTING.partition("\n## A task waits\n")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| (`.+`) ?(?:, with a traceback )?\|", waiting, re.MULTILINE)
    assert len(quoted) > 10
    for line in re.findall("`([^`]+)`", "".join(quoted)):
        for part in re.split(r"\.\.\.|NAME|HOST|ID\b", line):
            words = part.strip(" :;,'")
            assert words in source, line


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert [link for link in links if not (ROOT / "docs" / link).resolve().is_file()] == []
