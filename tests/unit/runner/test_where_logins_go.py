"""A task whose URLs brought logins goes only where its worker can ask for them."""

import asyncio
from pathlib import Path

from tesp_api.bell import Bell
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.scheduler import Scheduler
from tesp_api.settings import Settings
from tesp_api.store.sqlite import SqliteTaskStore
from tests.factories import make_task
from tests.fakes.lender import LendsNothing
from tests.fakes.pulsar import FakePulsar

SETTINGS = Settings.model_validate(
    {
        "destinations": {
            "far": {"kind": "rest", "url": "http://127.0.0.1:1", "max_running": 100},
            "near": {"max_running": 2},
        },
        "credentials": {"lab": {"url_prefix": "https://lab.example.org", "bearer_token": "t"}},
    }
)
LAB = {"url": "https://lab.example.org/a", "path": "/a"}


async def test_tasks_with_logins_go_where_they_can_be_had(tmp_path: Path) -> None:
    store, sites = SqliteTaskStore(tmp_path), {name: FakePulsar(name) for name in ("far", "near")}
    await store.open()
    tasks = [make_task(), make_task(sealed="logins"), make_task(), make_task(inputs=[LAB])]
    for task in tasks:
        await store.create(task)
    scheduler = Scheduler(store, sites, SETTINGS, Bell(), LendsNothing(), Gateway(SETTINGS))
    await scheduler.start()
    async with asyncio.timeout(10):
        while len(sites["far"].jobs) + len(sites["near"].jobs) < len(tasks):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await scheduler.stop()
    await store.aclose()
    assert set(sites["near"].jobs) == {f"{tasks[1].id}-1", f"{tasks[3].id}-1"}
