"""One browser and one server for all tests; a test whose page complains in the console fails."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import environment_of
from tests.acceptance.workflow_runs import SCRIPTED
from tests.services.browser import Browser
from tests.services.tesp import TespServer

Open = Callable[..., Any]
"""`open_page("tasks", server=...)`: a page of the dashboard, once it has its heading."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Gone before other tests begin: Playwright keeps an event loop running in this thread."""
    with Browser() as running:
        yield running


class Gate:
    """A folder that a task sees: it waits there until the test lets it go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.input = {"path": "/gate", "url": folder.as_uri(), "type": "DIRECTORY"}

    def task(self, script: str, **more: Any) -> dict[str, Any]:
        """A task of one script, in which `pass NAME` waits for `open(NAME)`."""
        function = "pass() { until [ -e /gate/$1 ]; do sleep 0.05; done; }; "
        executors = [{"image": "busybox:latest", "command": ["sh", "-c", function + script]}]
        return {"executors": executors, **more, "inputs": [self.input, *more.get("inputs", ())]}

    def open(self, name: str) -> None:
        """Let go on who waits for this."""
        (self._folder / name).touch()


@pytest.fixture(scope="session")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gates")


@pytest.fixture
def gate(gates: Path) -> Gate:
    folder = gates / uuid.uuid4().hex
    folder.mkdir()
    return Gate(folder)


@pytest.fixture(scope="session")
def server(gates: Path) -> Iterator[TespServer]:
    """Shared: look at your own tasks only. It runs tasks in bubblewrap, and scripts as workflows."""
    with (
        environment_of("embedded-bubblewrap", roots={gates: "rw"}) as settings,
        TespServer(settings, app=SCRIPTED) as running,
    ):
        yield running


@pytest.fixture
def complaints() -> list[str]:
    """What the console of the pages said; a test that provokes some takes them out."""
    return []


@pytest.fixture
def open_page(browser: Browser, server: TespServer, complaints: list[str]) -> Iterator[Open]:
    contexts = []

    def open_one(
        address: str = "", *, at: str = "", before: Callable[[Any], None] | None = None, **options: Any
    ) -> Any:
        context = browser.context(**options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if before:
            before(page)
        page.goto(f"{at or server.url + '/ui'}/{address}")
        page.wait_for_selector("main h1")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints
