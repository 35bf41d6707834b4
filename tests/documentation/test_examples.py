"""Settings that pages show are valid, and links lead somewhere."""

import os
import re
from pathlib import Path

import pytest

from tesp_api.settings import Settings, load_settings
from tests.documentation.pages import ROOT, blocks, every_page, text_of

EXAMPLES = [(page, block) for page in every_page() for block in blocks(page, "toml")]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("TESP_API", "FASTAPI_PROFILE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def loaded(text: str) -> Settings:
    """The settings, with a secret wherever they name a file that has one."""
    secret = Path("secret").absolute()
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")
    Path("settings.toml").write_text(re.sub(r'(_file = )"/[^"]+"', rf'\1"{secret}"', text))
    return load_settings()


@pytest.mark.parametrize(("page", "example"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_every_example_of_settings_is_valid(page: str, example: str) -> None:
    named = re.findall(r"^\[default\.destinations\.(\w+)\]$", example, re.MULTILINE)
    assert sorted(loaded(example).destinations) == sorted(named or ["local"])


def test_the_credentials_are_complete_with_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "docs/howto/credentials.md"
    for name, value in re.findall(r"^export (TESP_API_CREDENTIALS\w+)=(.*)$", text_of(page), re.MULTILINE):
        monkeypatch.setenv(name, value)
    lab, portal = (loaded(blocks(page, "toml")[0]).credentials[name] for name in ("lab", "portal"))
    assert (lab.kind, bool(lab.secret_access_key)) == ("s3", True)
    assert (portal.kind, bool(portal.bearer_token)) == ("login", True)


def test_the_destinations_are_those_that_the_page_tells_of() -> None:
    sites = loaded(blocks("docs/destinations.md", "toml")[0]).destinations
    assert (sites["local"].kind, sites["slurm"].max_cores, sites["slurm"].scheduler) == (
        "embedded",
        512,
        "slurm-drmaa",
    )


def test_the_tasks_that_pages_show_are_files_that_can_be_run() -> None:
    shown = {path.name for path in (ROOT / "examples").iterdir()}
    assert {"hello.json", "words"} <= shown


@pytest.mark.parametrize("page", every_page())
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", text)
    folder = (ROOT / page).parent
    assert [link for link in links if not (folder / link).resolve().is_file()] == []
