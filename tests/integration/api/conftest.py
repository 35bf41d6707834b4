"""The API over each of the stores, without a runner: tests play the runner's part."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tesp_api.api.application import build_api
from tesp_api.app import build_outbox, build_store
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import TaskStore
from tesp_api.webhooks.deliveries import Deliveries
from tesp_api.wes.workflows import Workflows
from tests.fakes.workshop import workflows_over
from tests.integration.api import fuzzing
from tests.integration.api.kinds import STORES, store_table
from tests.integration.api.life import RingingBell, connect


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What made-up requests were answered."""
    for line in fuzzing.summary():
        terminalreporter.write_line(line)


@pytest.fixture(params=STORES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    roots = [{"path": str(tmp_path / "shared space"), "mount": "rw"}, {"path": "/data"}]
    return Settings.model_validate(
        {
            "data_dir": str(tmp_path / "data"),
            "store": store_table(request, tmp_path),
            "server": {"max_body_bytes": 300_000},
            "logs": {"tail_bytes": 1000},
            "destinations": {"local": {"file_roots": roots}},
        }
    )


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[TaskStore]:
    opened = build_store(settings)
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture
def bell() -> RingingBell:
    return RingingBell()


@pytest.fixture
def app(store: TaskStore, bell: Bell, settings: Settings, workflows: Workflows) -> FastAPI:
    webhooks = Deliveries(build_outbox(settings, store), store.notices, settings)
    return build_api(store, bell, settings, {}, workflows=workflows, webhooks=webhooks)


@pytest.fixture
def workflows(store: TaskStore, settings: Settings) -> Workflows:
    return workflows_over(store, settings)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(app) as opened:
        yield opened
