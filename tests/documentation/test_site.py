"""The site is built without a warning, and needs nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT

CONFIG = ROOT / "docs/site/mkdocs.yml"


def build(site: Path, config: Path = CONFIG) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    return subprocess.run(
        [*command, "--site-dir", str(site)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_it_begins_with_the_readme(site: Path) -> None:
    assert "A task of your own" in (site / "index.html").read_text()


def test_what_lies_beside_the_docs_is_part_of_it(site: Path) -> None:
    assert (site / "repository/settings.toml").is_file()
    assert 'href="../repository/settings.toml"' in (site / "howto/settings.html").read_text()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loading = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*\shref="(?:https?:)?//'
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert [str(page) for page in pages if loading.search(page.read_text())] == []


def test_the_search_knows_all_pages(site: Path) -> None:
    index = (site / "search/search_index.json").read_text()
    assert "Idempotency-Key" in index
