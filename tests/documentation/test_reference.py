"""docs/reference is what the code says."""

from pathlib import Path

from docs.site import reference
from docs.site.commands import commands_page
from docs.site.endpoints import http_page
from docs.site.settings import settings_page, tables_of
from tesp_api.api.openapi import openapi_document
from tesp_api.settings import Settings


def test_no_page_is_stale() -> None:
    assert reference.stale() == [], "make reference"


def test_a_page_that_was_changed_or_removed_is_stale(tmp_path: Path) -> None:
    for name, text in reference.written().items():
        (tmp_path / name).write_text(text)
    assert reference.stale(tmp_path) == []
    (tmp_path / "settings.md").write_text("# Settings\n")
    (tmp_path / "http.md").unlink()
    assert reference.stale(tmp_path) == ["settings.md", "http.md"]


def test_every_setting_is_there_with_what_it_means() -> None:
    page = settings_page()
    for path, table in tables_of(Settings.model_json_schema()):
        for key, one in table["properties"].items():
            if "additionalProperties" not in one and "description" in one:
                assert f"| `{key}` |" in page, (path, key)
    assert "|  |\n" not in page


def test_no_default_hides_behind_stars() -> None:
    assert "***" not in settings_page()
    assert '| `url` | secret | `"sqlite:"` |' in settings_page()


def test_every_endpoint_is_there() -> None:
    page = http_page()
    for path, methods in openapi_document("")["paths"].items():
        for method in methods:
            assert f"### `{method.upper()} {path}`\n" in page


def test_every_command_is_there_with_its_options() -> None:
    page = commands_page()
    for command in ("serve", "top", "doctor", "task create", "run submit", "user add", "token create"):
        assert f"## `tesp {command}`\n" in page
    assert "| `--name-prefix` | `TEXT` |  | Only tasks whose name begins so. |" in page
    assert "| `11` | SYSTEM_ERROR |" in page
