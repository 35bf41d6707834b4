"""What holds for every page: names are no markup, narrow screens, darkness, the keyboard, access, weight."""

from typing import Any

import pytest

from tests.acceptance.workflow_runs import step, submit, wait
from tests.browser.conftest import Open
from tests.browser.test_pages import shell, until
from tests.services.browser import PHONE, Browser
from tests.services.tesp import TespServer

pytestmark = pytest.mark.services

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
WEIGHT_MAX_BYTES = 200 * 1024


@pytest.fixture(scope="module")
def pages(server: TespServer) -> dict[str, str]:
    """The address of each page, of a task and a run with markup wherever users may write something."""
    task_id = server.run(
        shell(
            f"echo '{HOSTILE}'; echo '{HOSTILE}' >&2; exit 1",
            name=HOSTILE,
            description=HOSTILE,
            tags={HOSTILE: HOSTILE},
            inputs=[
                {"path": f"/data/{HOSTILE.replace('/', '')}", "content": HOSTILE, "description": HOSTILE}
            ],
        )
    )["id"]
    run_id = submit(server, [step(HOSTILE, "true"), step("b", "true")], params={"x": HOSTILE})
    wait(server, run_id)
    return {
        "tasks": "tasks",
        "a task": f"tasks/{task_id}",
        "runs": "runs",
        "a run": f"runs/{run_id}",
        "destinations": "destinations",
        "a new task": "submit",
        "a copy": f"submit?from={task_id}",
    }


def shown(page: Any, address: str) -> Any:
    """The page at another address, once it has drawn what it has asked for."""
    page.goto(page.url.partition("/ui/")[0] + f"/ui/{address}")
    return settled(page)


def settled(page: Any) -> Any:
    """The page, once it has drawn what it has asked for."""
    page.locator("main h1").wait_for()
    page.wait_for_load_state("load")
    page.locator("main :is(.card, .list, .empty, .examples)").first.wait_for()
    until(lambda: page.locator("text=Loading…").count() == 0)
    return page


def test_what_users_write_is_never_markup(
    open_page: Open, pages: dict[str, str], complaints: list[str]
) -> None:
    page = open_page()
    page.on("dialog", lambda dialog: complaints.append(f"a script ran: {dialog.message}"))
    for address in pages.values():
        shown(page, address)
        assert page.locator("main img").count() == 0
        assert page.locator("main script").count() == 0
    shown(page, pages["a task"])
    page.get_by_role("heading", name=HOSTILE, exact=True).wait_for()
    page.locator(".log", has_text=HOSTILE).wait_for()


def test_pages_fit_a_phone(open_page: Open, pages: dict[str, str]) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    for name, address in pages.items():
        shown(page, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name


def test_themes_follow_the_system_and_the_user(open_page: Open) -> None:
    def brightness(page: Any) -> int:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in color[4:-1].split(",")[:3])

    page = open_page("tasks", color_scheme="dark")
    assert brightness(page) < 200
    page.get_by_role("button", name="Theme: as the system").click()
    until(lambda: brightness(page) > 600)
    page.reload()
    until(lambda: brightness(page) > 600)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, open_page: Open, pages: dict[str, str], scheme: str
) -> None:
    found = {}
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    for name, address in pages.items():
        if faults := browser.axe(shown(page, address)):
            found[name] = faults
    assert found == {}


def test_the_keyboard_is_enough(server: TespServer, open_page: Open) -> None:
    page = open_page("submit")
    page.get_by_text("This task can run").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")  # the first example
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Submit the task":
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="hello").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.locator('h1 ~ .badge[data-state="COMPLETE"]').wait_for()
    page.get_by_role("tab", name="stdout").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "stderr"
    page.go_back()
    page.get_by_role("heading", name="New task").wait_for()


def test_all_pages_together_weigh_little(open_page: Open, pages: dict[str, str]) -> None:
    files: dict[str, int] = {}

    def weigh(response: Any) -> None:
        if "/ui/" in response.url and response.status == 200:
            files[response.url] = len(response.body())

    page = open_page("tasks", before=lambda one: one.on("response", weigh))
    for heading, link in (
        ("Workflow runs", "Runs"),
        ("Destinations", "Destinations"),
        ("New task", "New task"),
    ):
        page.get_by_role("navigation").get_by_role("link", name=link).click()
        page.get_by_role("heading", name=heading, exact=True).wait_for()
    for name in ("a task", "a run"):
        shown(page, pages[name])
    assert len(files) > 20
    assert sum(files.values()) <= WEIGHT_MAX_BYTES


def test_no_page_weighs_much_with_all_that_it_asks_for(open_page: Open, pages: dict[str, str]) -> None:
    """As a new browser loads it: files, and what the API answers, but for streams, which never end."""
    weights: dict[str, int] = {}
    for name, address in pages.items():
        loaded: list[int] = []

        def weigh(response: Any, loaded: list[int] = loaded) -> None:
            if response.status == 200 and "event-stream" not in response.headers.get("content-type", ""):
                loaded.append(len(response.body()))

        settled(open_page(address, before=lambda one, weigh=weigh: one.on("response", weigh)))
        assert len(loaded) > 5, name
        weights[name] = sum(loaded)
    assert {name: weight for name, weight in weights.items() if weight > WEIGHT_MAX_BYTES} == {}
