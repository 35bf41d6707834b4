"""Of a store with many tasks the list shows some, the newest first, and more on demand."""

from collections.abc import Iterator

import pytest

from bench.load_sqlite import load
from tests.browser.conftest import Open
from tests.browser.test_pages import chip_count, until
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

pytestmark = pytest.mark.services

TASKS = 4000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TespServer]:
    """A server whose tasks have all ended."""
    folder = tmp_path_factory.mktemp("crowded") / "data"
    load(folder, TASKS)
    with TespServer(ONLY_BUBBLEWRAP, data=folder) as running:
        yield running


def test_a_page_at_a_time(crowded: TespServer, open_page: Open) -> None:
    asked: list[str] = []
    page = open_page(
        at=crowded.url + "/ui", before=lambda one: one.on("request", lambda r: asked.append(r.url))
    )
    until(lambda: page.locator("tbody tr").count() == 50)
    assert all("page_size=50" in url for url in asked if "/tesp/v1/tasks" in url)
    assert chip_count(page, "Complete") == 3000
    page.get_by_role("button", name="Load more").click()
    until(lambda: page.locator("tbody tr").count() == 100)
    shown = page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.dataset.id)")
    assert shown == sorted(shown, reverse=True) and len(set(shown)) == 100
    page.get_by_role("button", name="Executor error").click()
    until(lambda: page.locator('tbody .badge:not([data-state="EXECUTOR_ERROR"])').count() == 0)
    page.get_by_role("button", name="Load more").click()
    until(lambda: page.locator("tbody tr").count() == 100)


def test_new_tasks_come_on_top_of_what_was_loaded(crowded: TespServer, open_page: Open) -> None:
    page = open_page(at=crowded.url + "/ui")
    page.get_by_role("button", name="Load more").click()
    until(lambda: page.locator("tbody tr").count() == 100)
    page.wait_for_selector('.live[data-status="live"]')
    task_id = crowded.create({"name": "new", "executors": [{"image": "busybox:latest", "command": ["true"]}]})
    page.locator(f'tbody tr:first-child[data-id="{task_id}"]').wait_for()
    assert page.locator("tbody tr").count() == 101
