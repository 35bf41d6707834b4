"""Debian's Chromium, without a window, driven by Playwright. One browser serves all tests of a session.

Playwright is in an environment of its own, which is put behind everything else on the path.
"""

import shutil
import sys
from types import TracebackType
from typing import Any

from tests.services.install import BROWSER_VENV, install

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Browser:
    """`with Browser() as browser:`; each test takes a context of its own."""

    def __enter__(self) -> "Browser":
        program = shutil.which("chromium")
        assert program, "install the Debian package chromium: make test-services"
        install(BROWSER_VENV)
        for folder in (BROWSER_VENV / "lib").glob("python3*/site-packages"):
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=program, args=_FLAGS)
        return self

    def context(self, **options: Any) -> Any:
        """A Playwright context, as of a new user of the browser."""
        return self._browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **options})

    def axe(self, page: Any) -> list[dict[str, Any]]:
        """What axe-core finds on a page of violations that are serious or critical."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(page).response["violations"]
        return [
            {"id": one["id"], "impact": one["impact"], "where": [node["html"][:200] for node in one["nodes"]]}
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._browser.close()
        self._playwright.stop()
