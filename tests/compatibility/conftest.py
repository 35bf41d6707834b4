"""One server that runs tasks in bubblewrap, and the API alone over a store for what needs no run."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tesp_api.store.sqlite import SqliteTaskStore
from tests.acceptance.servers import environment_of
from tests.services.tesp import TespServer


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders that tasks may name: one is mounted read-write, from the other files are copied."""

    mounted: Path
    copied: Path


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    folder = tmp_path_factory.mktemp("roots")
    made = Roots(folder / "mounted", folder / "copied files")
    made.mounted.mkdir()
    made.copied.mkdir()
    return made


@pytest.fixture(scope="session")
def server(roots: Roots) -> Iterator[TespServer]:
    """Shared by all tests of this folder: look at your own tasks only."""
    named = {roots.mounted: "rw", roots.copied: "copy"}
    with environment_of("embedded-bubblewrap", roots=named) as settings, TespServer(settings) as server:
        yield server


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TaskStore]:
    opened = SqliteTaskStore(tmp_path / "data")
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def api(tmp_path: Path, store: TaskStore, bell: Bell) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API alone: nothing runs, tests play the runner's part."""
    roots = [{"path": "/shared", "mount": "rw"}]
    settings = Settings.model_validate(
        {"data_dir": str(tmp_path / "data"), "destinations": {"local": {"file_roots": roots}}}
    )
    transport = httpx.ASGITransport(build_api(store, bell, settings, {}), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tesp") as opened:
        yield opened
