"""crankshaft-engine 0.10.0, which is under Sprocket: requests captured from runs against TESP.

The captured task has the shape of Sprocket's: stjude-rust-labs/sprocket at bc467b2,
crates/wdl-engine/src/backend/tes.rs (247-255, 359-375, 417-455).
"""

from pathlib import Path

import httpx
import pytest

from tesp_api.store.base import TaskStore
from tests.compatibility.captured_requests import captured
from tests.compatibility.conftest import Roots
from tests.compatibility.readers import CrankshaftTask
from tests.integration.api.life import TES, create, finish, start
from tests.services.tesp import TespServer

REQUESTS = captured("crankshaft-0.10.0")


def as_url(path: Path) -> str:
    """The path as crankshaft writes it after `file://`: percent-encoded."""
    return path.as_uri().removeprefix("file://")


async def test_each_second_it_lists_its_group_by_a_tag(api: httpx.AsyncClient, store: TaskStore) -> None:
    """Captured: MINIMAL, pages of 2047; it goes on while a token comes."""
    request = REQUESTS["list"].filled(tag="group-1")
    assert ("page_size", "2047") in request.query
    assert (await api.request(**request.arguments())).json() == {"tasks": []}
    ended = await create(api, tags={"crankshaft-task-group": "group-1"})
    await finish(store, await start(store, ended), b"")
    waiting = await create(api, tags={"crankshaft-task-group": "group-1", "other": "tag"})
    await create(api, tags={"crankshaft-task-group": "group-2"})
    await create(api, tags={"other": "group-1"})
    assert (await api.request(**request.arguments())).json() == {
        "tasks": [{"id": waiting, "state": "QUEUED"}, {"id": ended, "state": "COMPLETE"}]
    }


async def test_a_page_of_2048_is_refused(api: httpx.AsyncClient) -> None:
    """It refuses to send that itself. Source: the crate tes 0.10.1, src/v1/client.rs, list_tasks."""
    assert (await api.get(f"{TES}/tasks?page_size=2047")).status_code == 200
    assert (await api.get(f"{TES}/tasks?page_size=2048")).status_code == 400


@pytest.mark.services
@pytest.mark.parametrize("code", [0, 3])
def test_a_call_s_outputs_and_exit_code_come_home_whatever_the_code(
    server: TespServer, roots: Roots, code: int
) -> None:
    """Captured: `ignore_error` is set, so a failed call is COMPLETE, with its outputs and its exit code.

    Source: crankshaft-engine 0.10.0, src/service/runner/backend/tes.rs, wait_task: the exit codes of the
    last log, of which there must be one for each executor.
    """
    folder = roots.copied / f"call {code}"
    folder.mkdir()
    (folder / "in.txt").write_text("input\n")
    sent = REQUESTS["create"].filled(shared=as_url(folder), tag="live")
    assert "%20" in sent.body["outputs"][0]["url"]
    sent.body["inputs"][0]["content"] += f"; mkdir sub; echo deep > sub/file; exit {code}"
    task_id = sent.send(server.client).json()["id"]
    server.wait(task_id)
    full = REQUESTS["get FULL"].filled(task_id=task_id).send(server.client).json()
    read = CrankshaftTask(**full)
    assert read.state == "COMPLETE"
    assert read.logs is not None
    assert [log.exit_code for log in read.logs[-1].logs] == [code]
    assert (folder / "call" / "stdout").read_text() == "input\n"
    assert (folder / "call" / "stderr").exists()
    assert (folder / "call" / "work" / "made.txt").read_text() == "made\n"
    sizes = {output.path: output.size_bytes for output in read.logs[-1].outputs}
    assert sizes["/mnt/task/work/sub/file"] == "5"  # a DIRECTORY is told file by file
    assert "/mnt/task/work" not in sizes


async def test_a_cancel_whose_body_is_null_is_answered_with_json(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """Captured: it posts `null`; the answer has to be JSON (the crate tes 0.10.1, src/v1/client.rs, post)."""
    request = REQUESTS["cancel"]
    assert request.body is None
    running = await create(api)
    await start(store, running)
    ended = await create(api)
    await finish(store, await start(store, ended), b"")
    for task_id, state in ((running, "CANCELING"), (running, "CANCELING"), (ended, "COMPLETE")):
        answer = await api.request(**request.filled(task_id=task_id).arguments())
        assert (answer.status_code, answer.json()) == (200, {})
        assert (await api.get(f"{TES}/tasks/{task_id}")).json()["state"] == state


async def test_it_reads_a_task_in_each_state(api: httpx.AsyncClient, store: TaskStore) -> None:
    """Each log must have its `logs` and `outputs`, and each executor listed its exit code."""
    task_id = await create(api)
    held = None
    for state in ("QUEUED", "RUNNING", "COMPLETE"):
        if state == "RUNNING":
            held = await start(store, task_id)
        elif held is not None:
            await finish(store, held, b"out")
        answer = await api.request(**REQUESTS["get FULL"].filled(task_id=task_id).arguments())
        assert CrankshaftTask(**answer.json()).state == state
