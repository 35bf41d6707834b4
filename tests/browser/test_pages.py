"""Each page shows what it is for, and what happens while it is open."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.workflow_runs import step, submit
from tests.acceptance.workflow_runs import wait as wait_for_run
from tests.browser.conftest import Gate, Open
from tests.services.tesp import TespServer, poll

pytestmark = pytest.mark.services


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}], **more}


def until(what: Callable[[], Any]) -> None:
    """Wait until it is true. Playwright's own way evaluates text in the page, which its policy forbids."""
    poll(what, timeout_s=60, why="the page does not show it", every_s=0.05)


def chip_count(page: Any, state: str) -> int:
    return int(page.locator(".chip", has_text=state).locator("b").inner_text().replace(",", ""))


def test_the_list_shows_tasks_as_they_come_and_go(server: TespServer, gate: Gate, open_page: Open) -> None:
    page = open_page("tasks")
    page.wait_for_selector('.live[data-status="live"]')
    before = chip_count(page, "Executor error")
    task_id = server.create(gate.task("pass on; exit 3", name="comes and goes"))
    row = page.locator(f'tr[data-id="{task_id}"]')
    row.locator('.badge[data-state="RUNNING"]').wait_for()
    assert row.locator("a").inner_text() == "comes and goes"
    gate.open("on")
    row.locator('.badge[data-state="EXECUTOR_ERROR"]').wait_for()
    until(lambda: chip_count(page, "Executor error") > before)
    until(lambda: "local" in row.inner_text())  # with the next look at the list


def test_the_list_is_filtered_and_the_address_keeps_the_filters(server: TespServer, open_page: Open) -> None:
    word = uuid.uuid4().hex[:8]
    good = server.run(shell("true", name=f"{word} good", tags={"batch": word}))["id"]
    bad = server.run(shell("false", name=f"{word} bad", tags={"batch": word}))["id"]
    server.run(shell("true", name="of another batch", tags={"batch": "other"}))
    page = open_page("tasks")
    page.get_by_label("Tag", exact=True).fill("batch")
    page.get_by_label("Tag value").fill(word)
    page.keyboard.press("Enter")
    until(lambda: page.locator("tbody tr").count() == 2)
    page.get_by_role("button", name="Executor error").click()
    until(lambda: page.locator("tbody tr").count() == 1)
    assert page.locator("tbody tr").get_attribute("data-id") == bad
    page.goto(page.url)
    until(lambda: page.locator("tbody tr").count() == 1)
    page.get_by_role("link", name="Clear all").click()
    page.get_by_label("Name begins with").fill(f"{word} g")
    page.keyboard.press("Enter")
    until(lambda: page.locator("tbody tr").count() == 1)
    assert page.locator("tbody tr").get_attribute("data-id") == good
    page.get_by_label("Name begins with").fill("nothing is called so")
    page.keyboard.press("Enter")
    page.get_by_text("No task fits these filters").wait_for()


def test_what_is_typed_while_filters_are_applied_is_kept(server: TespServer, open_page: Open) -> None:
    word = uuid.uuid4().hex[:8]
    server.run(shell("true", tags={"batch": word}))
    server.run(shell("true", tags={"batch": "other"}))
    page = open_page("tasks")
    page.get_by_label("Tag", exact=True).fill("batch")
    page.locator("form.filters").evaluate(
        """(form, text) => {
            form.elements.tag_value.focus(); // which applies the tag, and draws the page anew
            form.elements.tag_value.value = text;
        }""",
        word[:-1],
    )
    until(lambda: "tag_key=batch" in page.url and page.locator("a.clear").count() == 1)
    page.keyboard.type(word[-1])
    page.keyboard.press("Enter")
    until(lambda: page.locator("tbody tr").count() == 1)
    assert f"tag_value={word}" in page.url


def test_a_task_is_followed_to_its_end(server: TespServer, gate: Gate, open_page: Open) -> None:
    content = ">read1\nGATTACA\n"
    task = gate.task("cat /data/r.fa; pass on; echo line 2; pass out; echo oops >&2", name="followed")
    task["executors"].append({"image": "busybox:latest", "command": ["echo", "second"]})
    task["inputs"].append({"path": "/data/r.fa", "content": content})
    task_id = server.create(task)
    page = open_page(f"tasks/{task_id}")
    page.wait_for_selector('.live[data-status="live"]')
    page.locator(".log", has_text="GATTACA").wait_for()
    gate.open("on")
    page.locator(".log", has_text="line 2").wait_for()
    assert page.locator('h1 ~ .badge[data-state="RUNNING"]').count() == 1
    gate.open("out")
    page.locator('h1 ~ .badge[data-state="COMPLETE"]').wait_for()
    page.get_by_role("tab", name="1 stderr").click()
    page.locator(".log", has_text="oops").wait_for()
    page.get_by_role("tab", name="2 stdout").click()
    page.locator(".log", has_text="second").wait_for()
    labels = page.locator(".chart .label").all_text_contents()
    assert labels == ["Queued", "Staging in", "Executor 1", "Executor 2", "Upload"]
    inputs = page.locator(".files").first
    inputs.get_by_text(hashlib.sha256(content.encode()).hexdigest()).wait_for()
    assert "15 B" in inputs.inner_text()
    history = page.locator(".history").inner_text()
    assert "executors and outputs are done" in history and "goes to local" in history
    assert page.locator(".exit").all_inner_texts()[0].startswith("exit code 0")
    page.locator(".json-card summary").click()
    assert json.loads(page.locator(".json-card pre").inner_text())["id"] == task_id


def test_a_failure_says_why(server: TespServer, open_page: Open) -> None:
    task_id = server.run(shell("echo went wrong >&2; exit 3", name="failed"))["id"]
    page = open_page(f"tasks/{task_id}")
    page.get_by_text("exit code 3").first.wait_for()
    assert page.locator('h1 ~ .badge[data-state="EXECUTOR_ERROR"]').inner_text() == "Executor error"


def test_a_task_is_canceled_and_sent_again(server: TespServer, open_page: Open) -> None:
    task_id = server.create(shell("sleep 60", name="to be canceled", tags={"wes.run_id": "x", "kept": "yes"}))
    server.wait(task_id, states={"RUNNING"})
    page = open_page(f"tasks/{task_id}")
    page.get_by_role("button", name="Cancel").click()
    page.locator('h1 ~ .badge[data-state="CANCELED"]').wait_for()
    page.get_by_role("button", name="Resubmit").click()
    page.get_by_text("This task can run").wait_for()
    page.get_by_label("Script for sh").fill("echo again")
    page.get_by_role("button", name="Submit the task").click()
    page.locator('h1 ~ .badge[data-state="COMPLETE"]').wait_for()
    again = server.get(page.url.rpartition("/")[2])
    assert again["id"] != task_id and again["tags"] == {"kept": "yes"} and again["name"] == "to be canceled"
    assert again["executors"][0]["command"] == ["sh", "-c", "echo again"]


def test_a_long_log_shows_its_end_and_what_came_before_on_demand(server: TespServer, open_page: Open) -> None:
    task_id = server.run(shell("for i in $(seq 20000); do echo this is line $i of the log; done"))["id"]
    page = open_page(f"tasks/{task_id}")
    page.locator(".log", has_text="line 20000 of").wait_for()
    assert "line 3 of" not in page.locator(".log").inner_text()
    page.get_by_role("button", name="Earlier lines").click()
    until(lambda: "line 3 of" in page.locator(".log").text_content())
    with page.expect_download() as saved:
        page.locator(".log-box").get_by_role("button", name="Download").click()
    assert saved.value.path().read_text().splitlines()[0] == "this is line 1 of the log"


def test_an_unknown_task_is_told_of(open_page: Open, complaints: list[str]) -> None:
    page = open_page("tasks/nothing")
    page.get_by_text("there is no task 'nothing'").wait_for()
    page.get_by_text("It may have been deleted").wait_for()
    complaints.clear()  # the browser's own line about the 404


def test_a_run_fills_in_as_it_goes(server: TespServer, open_page: Open) -> None:
    steps = [
        step("make", "sleep 1; echo x > /out/x%", scatter=3, outputs={"/out/x%": "x%"}, volumes=["/out"]),
        step("join", "sleep 1; cat /in/x0", after=["make"], inputs={"/in/x0": "x0"}, volumes=["/in"]),
    ]
    run_id = submit(server, steps)
    page = open_page(f"runs/{run_id}")
    page.wait_for_selector('.live[data-status="live"]')
    page.locator(".graph .node", has_text="of 3 done").wait_for()
    page.locator('h1 ~ .badge[data-state="COMPLETE"]').wait_for()
    page.locator(".graph .node", has_text="3 of 3 done").wait_for()
    page.locator(".graph .node", has_text="join").wait_for()
    until(lambda: page.locator(".chart .row").count() == 4)
    assert page.locator(".edges path").count() == 1
    page.locator(".log", has_text="expanding w.json").wait_for()
    assert wait_for_run(server, run_id)["state"] == "COMPLETE"
    page.locator(".chart .row a").last.click()
    page.get_by_role("heading", name="join").wait_for()


def test_runs_are_listed_and_canceled(server: TespServer, open_page: Open) -> None:
    run_id = submit(server, [step("sleeps", "sleep 60")])
    page = open_page("runs")
    page.get_by_text(run_id).wait_for()
    page.locator("tr", has_text=run_id).get_by_role("link").click()
    page.get_by_role("button", name="Cancel").click()
    page.locator('h1 ~ .badge[data-state="CANCELED"]').wait_for()


def test_destinations_tell_their_load(server: TespServer, gate: Gate, open_page: Open) -> None:
    page = open_page("destinations")
    card = page.locator("article", has_text="local")
    card.get_by_text("Answers").wait_for()
    task_id = server.create(gate.task("pass on"))
    until(lambda: re.search(r"Running tasks\s*[1-9]", card.inner_text()))
    gate.open("on")
    server.wait(task_id)


def test_a_task_is_made_from_an_example(server: TespServer, open_page: Open) -> None:
    page = open_page("submit")
    page.get_by_role("button", name="Two executors").click()
    page.get_by_label("Image").first.fill("")
    page.get_by_text("The server would refuse this").wait_for()
    page.get_by_text("executors[0].image", exact=True).wait_for()
    page.get_by_label("Image").first.fill("alpine:3")
    page.get_by_text("This task can run").wait_for()
    text = page.get_by_label("The task as JSON")
    task = json.loads(text.input_value())
    assert task["executors"][0]["image"] == "alpine:3"
    text.fill("{")
    page.get_by_text("This is no JSON document").wait_for()
    text.fill(json.dumps(task | {"name": "by JSON"}))
    assert page.get_by_label("Name", exact=True).input_value() == "by JSON"
    page.get_by_role("button", name="Submit the task").click()
    page.get_by_role("heading", name="by JSON").wait_for()
    assert server.wait(page.url.rpartition("/")[2])["state"] == "COMPLETE"


def test_without_a_stream_the_page_asks(server: TespServer, gate: Gate, open_page: Open) -> None:
    def no_streams(page: Any) -> None:
        def answer(route: Any) -> None:
            if "text/event-stream" in route.request.headers.get("accept", ""):
                route.fulfill(status=200, content_type="text/html", body="a proxy's page")
            else:
                route.continue_()

        page.route("**/events*", answer)

    task_id = server.create(gate.task("pass on; echo done"))
    page = open_page(f"tasks/{task_id}", before=no_streams)
    page.wait_for_selector('.live[data-status="polling"]')
    gate.open("on")
    page.locator('h1 ~ .badge[data-state="COMPLETE"]').wait_for()
    page.locator(".log", has_text="done").wait_for()
