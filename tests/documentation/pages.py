"""The pages, and the blocks of commands and settings in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8080"
"""That of the server in all pages."""


def text_of(page: str) -> str:
    """A page by its path in the repository."""
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    """What a page shows in a language; blocks in lists are without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def every_page() -> list[str]:
    """All pages that people read, by their paths in the repository."""
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.name != "threats.md"]
    return sorted(["README.md", *(str(path.relative_to(ROOT)) for path in pages)])
