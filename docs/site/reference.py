"""Write the pages of docs/reference/, of the code: `python -m docs.site.reference`; `--check` only compares.

Exit codes: 0 they are as the code says; 1 (with `--check`) some are not, and are named.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from docs.site.commands import commands_page
from docs.site.endpoints import http_page
from docs.site.errors import errors_page
from docs.site.settings import settings_page

FOLDER = Path(__file__).resolve().parents[1] / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "http.md": http_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
}
NOTE = "<!-- Made by `make reference` of the code: change that, not this page. -->\n\n"


def stale(folder: Path = FOLDER) -> list[str]:
    """The names of the pages that are not what the code says, or not there."""
    return [name for name, text in written().items() if _read(folder / name) != text]


def written() -> dict[str, str]:
    """What belongs into each page."""
    return {name: NOTE + page().rstrip() + "\n" for name, page in PAGES.items()}


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        old = stale()
        for name in old:
            print(f"docs/reference/{name} is not what the code says: make reference")
        return 1 if old else 0
    for name, text in written().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
