"""The endpoints of WES, over each of the stores; the conductor is played."""

import asyncio
import io
import json
import os
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import Claim, TaskStore
from tesp_api.store.runs import Run, RunEnd, StepRecord
from tesp_api.tes.states import State
from tesp_api.wes.workflows import Workflows
from tests.factories import make_run, make_task
from tests.fakes.workshop import workflows_over
from tests.integration.api.life import connect, finish, nulls_in, start

WES, TESP = "/ga4gh/wes/v1", "/tesp/v1"
FORM = {"workflow_type": "SCRIPT", "workflow_type_version": "v1", "workflow_url": "w.json"}
WEB = FORM | {"workflow_url": "https://a.org/w"}


def attach(**files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    named = {"w.json": b"{}"} | {name.replace("__", "/"): data for name, data in files.items()}
    return [("workflow_attachment", (name, data)) for name, data in named.items()]


async def submit(client: httpx.AsyncClient, **more: str) -> str:
    answer = await client.post(f"{WES}/runs", data=FORM | more, files=attach())
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["run_id"]
    return str(answer.json()["run_id"])


async def claimed(workflows: Workflows, run_id: str) -> Claim:
    found = {run.id: run.claim for run in await workflows.runs.claim("test", lease_s=60, new_limit=99)}
    claim = found[run_id]
    assert claim is not None
    return claim


async def end(workflows: Workflows, run_id: str, claim: Claim, outputs: dict[str, Any] | None = None) -> Run:
    for state in (State.INITIALIZING, State.RUNNING):
        await workflows.runs.transition(run_id, state, claim=claim)
    end = RunEnd(outputs or {}, 0)
    return await workflows.runs.transition(run_id, State.COMPLETE, claim=claim, end=end)


async def test_a_form_starts_a_run(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    fields = FORM | {
        "workflow_params": '{"x": {"class": "File", "location": "data/x"}}',
        "tags": '{"project": "demo"}',
        "workflow_engine_parameters": '{"mood": "wild"}',
        "workflow_engine": "script",
        "unknown": "field",
    }
    answer = await client.post(f"{WES}/runs", data=fields, files=attach(data__x=b"one", data__y=b"two"))
    assert answer.status_code == 200, answer.text
    run = await workflows.runs.get(answer.json()["run_id"])
    assert run.request["workflow_params"]["x"]["location"] == "data/x"
    assert run.request["tags"] == {"project": "demo"}
    assert run.engine == "script"
    folder = settings.data_dir / "wes/work" / run.id / "attachments"
    assert (folder / "data/x").read_bytes() == b"one"
    assert (folder / "w.json").read_bytes() == b"{}"
    assert run.system_logs[0].startswith("created by request ")


async def test_json_starts_a_run_too(client: httpx.AsyncClient, workflows: Workflows) -> None:
    body = FORM | {"workflow_url": "https://a.org/w", "workflow_params": {"x": 1}, "tags": None}
    answer = await client.post(f"{WES}/runs", json=body)
    assert (await workflows.runs.get(answer.json()["run_id"])).request["workflow_params"] == {"x": 1}


async def test_fields_that_are_sent_as_files_are_read(
    client: httpx.AsyncClient, workflows: Workflows
) -> None:
    files = [(name, (name, value.encode())) for name, value in FORM.items()]
    files += [("workflow_params", ("workflow_params", b'{"x": 1}')), *attach()]
    answer = await client.post(f"{WES}/runs", files=files)
    assert answer.status_code == 200, answer.text
    assert (await workflows.runs.get(answer.json()["run_id"])).request["workflow_params"] == {"x": 1}


async def test_params_may_be_large(client: httpx.AsyncClient, workflows: Workflows) -> None:
    params = {"x": "y" * 3_000_000}
    run_id = await submit(client, workflow_params=json.dumps(params))
    assert (await workflows.runs.get(run_id)).request["workflow_params"] == params
    shown = (await client.get(f"{WES}/runs/{run_id}")).json()
    assert shown["request"]["workflow_params"] == params


LARGE = b'"' + b"x" * 9_000_000 + b'"'


@pytest.mark.parametrize("filename", [None, "params.json"])
async def test_there_are_limits_of_what_is_kept_in_memory(
    client: httpx.AsyncClient, filename: str | None
) -> None:
    """All fields together, whether they come as files or not."""
    files = [(name, (None, value.encode())) for name, value in FORM.items()] + [
        ("workflow_engine", (filename, LARGE)),
        ("workflow_params", (filename, LARGE)),
        *attach(),
    ]
    answer = await client.post(f"{WES}/runs", files=files)
    assert answer.status_code == 400
    (fault,) = answer.json()["faults"]
    assert fault["field"] == "workflow_params"
    assert "16777216 bytes" in fault["message"]


async def test_what_is_no_form_may_not_be_as_large_as_one(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data-not"}
    answer = await client.post(f"{WES}/runs", content=LARGE, headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize("place", ["api.run_forms.read_form_value", "api.runs.read_run_request"])
async def test_others_are_served_while_a_request_is_read(
    place: str, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The params of one run may take seconds."""
    module, name = f"tesp_api.{place}".rsplit(".", 1)
    read, begun, may_end = getattr(sys.modules[module], name), threading.Event(), threading.Event()

    def slowly(*given: Any) -> Any:
        begun.set()
        assert may_end.wait(20), "nobody else was served"
        return read(*given)

    monkeypatch.setattr(f"tesp_api.{place}", slowly)
    submitting = asyncio.create_task(submit(client, workflow_params="{}"))
    assert await asyncio.to_thread(begun.wait, 20)
    assert (await client.get(f"{WES}/runs")).json()["runs"] == []
    may_end.set()
    await submitting


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil"])
async def test_attachments_stay_in_their_folder(client: httpx.AsyncClient, name: str) -> None:
    files = [*attach(), ("workflow_attachment", (name, b"x"))]
    answer = await client.post(f"{WES}/runs", data=FORM, files=files)
    assert answer.status_code == 400
    assert answer.json()["faults"][0]["field"] == "workflow_attachment"
    assert (await client.get(f"{WES}/runs")).json() == {"runs": [], "next_page_token": ""}


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b"), ("x", "x"), ("ü" * 600,)])
async def test_attachments_need_places_of_their_own(client: httpx.AsyncClient, names: list[str]) -> None:
    files = [*attach(), *(("workflow_attachment", (name, b"x")) for name in names)]
    answer = await client.post(f"{WES}/runs", data=FORM, files=files)
    assert answer.status_code == 400, answer.text
    assert answer.json()["faults"][0]["field"] == "workflow_attachment"


@pytest.mark.parametrize(
    ("request_parts", "field"),
    [
        ({"json": {}}, "workflow_type"),
        ({"json": [1]}, "body"),
        ({"content": b""}, "body"),
        ({"content": b"{", "headers": {"Content-Type": "text/plain"}}, "body"),
        ({"data": {"workflow_type": "SCRIPT"}}, "workflow_url"),
        ({"data": FORM | {"workflow_params": "{"}}, "workflow_params"),
        ({"data": FORM}, "workflow_url"),
        ({"json": FORM | {"workflow_url": "https://u:p@a.org/w"}}, "workflow_url"),
        (
            {"json": WEB | {"workflow_engine_parameters": {"resume": "r"}}},
            "workflow_engine_parameters.resume",
        ),
        (
            {"json": WEB | {"workflow_params": {"x": "run://r/o"}}},
            "workflow_params.x",
        ),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, request_parts: Any, field: str) -> None:
    answer = await client.post(f"{WES}/runs", **request_parts)
    body = answer.json()
    assert (answer.status_code, body["status_code"]) == (400, 400), answer.text
    assert field in [fault["field"] for fault in body["faults"]]
    assert body["msg"]


async def test_a_broken_form_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await client.post(f"{WES}/runs", content=b"--x\r\nnonsense", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["status_code"] == 400


async def test_runs_are_listed_newest_first(client: httpx.AsyncClient) -> None:
    ids = [await submit(client, tags=json.dumps({"n": n})) for n in range(5)]
    page = (await client.get(f"{WES}/runs", params={"page_size": 3})).json()
    assert [run["run_id"] for run in page["runs"]] == ids[:1:-1]
    assert page["runs"][0] == {"run_id": ids[4], "state": "QUEUED", "tags": {"n": "4"}}
    await submit(client)
    rest = (await client.get(f"{WES}/runs", params={"page_token": page["next_page_token"]})).json()
    assert [run["run_id"] for run in rest["runs"]] == ids[1::-1]
    assert rest["next_page_token"] == ""
    for wrong in ({"page_size": "0"}, {"page_size": "x"}, {"page_token": "nonsense"}):
        assert (await client.get(f"{WES}/runs", params=wrong)).status_code == 400


async def test_a_run_is_shown_with_its_steps(
    client: httpx.AsyncClient, workflows: Workflows, store: TaskStore
) -> None:
    run_id = await submit(client, workflow_params='{"x": 1}')
    claim = await claimed(workflows, run_id)
    tasks = [make_task(name=name, owner="anybody") for name in ("one", "two")]
    for number, task in enumerate(tasks):
        await store.create(task)
        step = StepRecord(task.id, run_id, f"k{number}", f"step {number}", task.id, "" if number else "r0")
        await workflows.runs.put_step(step, claim=claim)
    gone = StepRecord("ffffffff-0000-7000-8000-000000000000", run_id, "k9", "gone", "t9")
    await workflows.runs.put_step(gone, claim=claim)
    await finish(store, await start(store, tasks[0].id), b"out", b"err")
    await workflows.runs.append_log("stderr", b"it said this", claim=claim)
    run = await workflows.runs.get(run_id)
    place = f"{run.work_url}b/y%20z"
    ended = await end(
        workflows, run_id, claim, {"f": {"class": "File", "location": place, "size": 2}, "n": None}
    )

    shown = (await client.get(f"{WES}/runs/{run_id}")).json()
    assert shown["state"] == "COMPLETE"
    assert shown["request"]["workflow_params"] == {"x": 1}
    assert shown["outputs"]["f"] == {
        "class": "File",
        "location": f"http://tesp{TESP}/runs/{run_id}/files/b/y%20z",
        "size": 2,
    }
    log = shown["run_log"]
    assert log["name"] == "w.json"
    assert log["exit_code"] == 0
    assert ended.started_at
    assert log["start_time"] == ended.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    stderr = await client.get(log["stderr"])
    assert (stderr.text, stderr.headers["x-tesp-log-live"]) == ("it said this", "false")
    assert (await client.get(log["stdout"])).text == ""

    assert shown["task_logs_url"] == f"http://tesp{WES}/runs/{run_id}/tasks"
    listed = (await client.get(shown["task_logs_url"])).json()
    assert listed["task_logs"] == shown["task_logs"]
    assert listed["next_page_token"] == ""
    first, second, third = listed["task_logs"]
    assert first["id"] == tasks[0].id
    assert first["name"] == "step 0"
    assert first["exit_code"] == 0
    assert first["cmd"] == ["echo", "hello"]
    assert "taken over from run r0" in first["system_logs"]
    assert (await client.get(first["stdout"])).text == "out"
    assert (await client.get(first["stderr"])).text == "err"
    assert (await client.get(first["tes_uri"])).json()["id"] == tasks[0].id
    assert "exit_code" not in second
    told = "it has no task: that was deleted, or could not be made"
    assert third == {"id": "t9", "name": "gone", "system_logs": [told]}
    assert (await client.get(f"{WES}/runs/{run_id}/tasks/{tasks[1].id}")).json() == second
    assert (await client.get(f"{WES}/runs/{run_id}/tasks/none")).status_code == 404
    assert nulls_in({key: value for key, value in shown.items() if key != "outputs"}) == []

    steps = (await client.get(f"{TESP}/runs/{run_id}/steps", params={"page_size": 2})).json()
    assert steps["state"] == "COMPLETE"
    assert steps["steps"] == [
        {"name": "step 0", "task_id": tasks[0].id, "reused_from": "r0", "state": "COMPLETE"},
        {"name": "step 1", "task_id": tasks[1].id, "state": "QUEUED"},
    ]
    more = {"page_token": steps["next_page_token"]}
    rest = (await client.get(f"{TESP}/runs/{run_id}/steps", params=more)).json()
    assert rest["steps"] == [{"name": "gone", "task_id": "t9", "state": "UNKNOWN"}]


async def test_steps_are_paged(client: httpx.AsyncClient, workflows: Workflows) -> None:
    run_id = await submit(client)
    claim = await claimed(workflows, run_id)
    ids = [make_task().id for _ in range(5)]
    for number, task_id in enumerate(ids):
        await workflows.runs.put_step(StepRecord(task_id, run_id, f"{number}", "n", task_id), claim=claim)
    shown: list[str] = []
    url, token = f"{WES}/runs/{run_id}/tasks", "first"
    while token:
        page = (
            await client.get(url, params={"page_size": 2, "page_token": token.removeprefix("first")})
        ).json()
        assert 0 < len(page["task_logs"]) <= 2
        shown += [one["id"] for one in page["task_logs"]]
        token = page["next_page_token"]
    assert shown == ids
    # statuses that the standard does not have here are not given
    for lenient in ("0", "-1", "x", "9" * 30):
        assert len((await client.get(url, params={"page_size": lenient})).json()["task_logs"]) == 5
    assert (await client.get(url, params={"page_token": "x"})).status_code == 404


async def test_a_cancel_is_stored_and_rung(client: httpx.AsyncClient, workflows: Workflows) -> None:
    rung: list[str] = []
    workflows.bell.listen(rung.append)
    run_id = await submit(client)
    for _ in range(2):
        answer = await client.post(f"{WES}/runs/{run_id}/cancel")
        assert (answer.status_code, answer.json()) == (200, {"run_id": run_id})
    assert (await client.get(f"{WES}/runs/{run_id}/status")).json() == {
        "run_id": run_id,
        "state": "CANCELING",
    }
    assert rung == [run_id] * 3
    assert "canceled by the client" in (await workflows.runs.get(run_id)).system_logs


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"{WES}/runs/nope{rest}") for rest in ("", "/status", "/tasks", "/tasks/t")),
        ("POST", f"{WES}/runs/nope/cancel"),
        ("DELETE", f"{TESP}/runs/nope"),
        *(("GET", f"{TESP}/runs/nope/{rest}") for rest in ("steps", "logs/stderr", "files/a", "outputs.zip")),
    ],
)
async def test_an_unknown_run_is_404(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 404
    assert answer.json() == {"status_code": 404, "msg": "there is no run 'nope'"}


async def test_wrong_methods_are_answered_in_the_same_form(client: httpx.AsyncClient) -> None:
    answer = await client.put(f"{WES}/runs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert answer.json()["status_code"] == 405


async def make_files(settings: Settings, workflows: Workflows, client: httpx.AsyncClient) -> tuple[str, Path]:
    run_id = await submit(client)
    folder = settings.data_dir / "wes/work" / run_id
    (folder / "b/sub").mkdir(parents=True)
    (folder / "b/x.txt").write_bytes(b"0123456789")
    (folder / "b/sub/ü #").write_bytes(b"deep")
    (settings.data_dir / "secret").write_text("hush")
    (folder / "b/link").symlink_to(settings.data_dir / "secret")
    (folder / "linked").symlink_to(settings.data_dir)
    base = f"file://{folder}/"
    outputs = {
        "one": {"class": "File", "location": f"{base}b/x.txt"},
        "all": [{"class": "Directory", "location": f"{base}b"}],
        "gone": {"class": "File", "location": f"{base}gone"},
        "elsewhere": "https://a.org/x",
    }
    await end(workflows, run_id, await claimed(workflows, run_id), outputs)
    return run_id, folder


async def test_files_of_a_run_can_be_had(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    run_id, _ = await make_files(settings, workflows, client)
    outputs = (await client.get(f"{WES}/runs/{run_id}")).json()["outputs"]
    whole = await client.get(outputs["one"]["location"])
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["content-length"] == "10"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "x.txt" in whole.headers["content-disposition"]
    for asked, status, data in (
        ("bytes=2-4", 206, b"234"),
        ("bytes=8-", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=5-99", 206, b"56789"),
        ("bytes=10-", 416, None),
        ("lines=1-2", 200, b"0123456789"),
    ):
        part = await client.get(outputs["one"]["location"], headers={"Range": asked})
        assert part.status_code == status, asked
        assert data is None or part.content == data
    listing = (await client.get(outputs["all"][0]["location"])).json()["files"]
    assert [(one["path"], one["size_bytes"]) for one in listing] == [("x.txt", "10"), ("sub/ü #", "4")]
    assert (await client.get(listing[1]["url"])).content == b"deep"
    assert outputs["elsewhere"] == "https://a.org/x"


@pytest.mark.parametrize(
    "path",
    [
        "gone",
        "b/link",
        "linked/secret",
        "../secret",
        "%2e%2e/secret",
        "b/../../secret",
        "b//x.txt",
        "",
        "b/%00",
        "x" * 300,
    ],
)
async def test_nothing_else_can_be_had(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings, path: str
) -> None:
    run_id, _ = await make_files(settings, workflows, client)
    answer = await client.get(f"{TESP}/runs/{run_id}/files/{path}")
    assert answer.status_code == 404, answer.text
    assert "hush" not in answer.text


async def test_archives_hold_all_files(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    run_id, _ = await make_files(settings, workflows, client)
    answer = await client.get(f"{TESP}/runs/{run_id}/outputs.zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["outputs.json", "one/x.txt", "all/b/x.txt", "all/b/sub/ü #"]
        assert archive.read("all/b/x.txt") == b"0123456789"
        told = json.loads(archive.read("outputs.json"))
        assert told["elsewhere"] == "https://a.org/x"
        assert told["one"]["location"] == "one/x.txt"
        assert told["all"][0]["location"] == "all/b"
    answer = await client.get(f"{TESP}/runs/{run_id}/inputs.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["request.json", "workflow_params.json", "attachments/w.json"]


async def test_an_archive_has_the_directories_that_outputs_list(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    """Those that lie somewhere in one piece are there once."""
    run_id = await submit(client)
    folder = settings.data_dir / "wes/work" / run_id / "workdir"
    (folder / "deep" / "d").mkdir(parents=True)
    for name in ("top.txt", "deep/x.txt", "deep/d/y.txt"):
        (folder / name).write_text(name)

    def file(name: str) -> dict[str, str]:
        return {"class": "File", "location": (folder / name).as_uri(), "basename": name.rpartition("/")[2]}

    whole = {
        "class": "Directory",
        "basename": "d",
        "location": (folder / "deep/d").as_uri(),
        "listing": [file("deep/d/y.txt")],
    }
    outputs = {
        "top.txt": file("top.txt"),
        "deep": {"class": "Directory", "basename": "deep", "listing": [file("deep/x.txt"), whole]},
    }
    await end(workflows, run_id, await claimed(workflows, run_id), outputs)
    answer = await client.get(f"{TESP}/runs/{run_id}/outputs.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["outputs.json", "top.txt", "deep/x.txt", "deep/d/y.txt"]
        assert archive.read("deep/d/y.txt") == b"deep/d/y.txt"


async def test_names_that_are_not_utf8_are_told_escaped(
    client: httpx.AsyncClient, workflows: Workflows, settings: Settings
) -> None:
    run_id = await submit(client)
    folder = settings.data_dir / "wes/work" / run_id / "d"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/x\xff")).write_bytes(b"odd")
    outputs = {"d": {"class": "Directory", "location": folder.as_uri()}}
    await end(workflows, run_id, await claimed(workflows, run_id), outputs)
    listing = await client.get(f"{TESP}/runs/{run_id}/files/d")
    assert [one["path"] for one in listing.json()["files"]] == ["x\\udcff"]
    answer = await client.get(f"{TESP}/runs/{run_id}/outputs.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert [name.rpartition("/")[2].rpartition("\\")[2] for name in names] == ["outputs.json", "udcff"]
        assert archive.read(names[1]) == b"odd"


async def test_files_that_are_elsewhere_now_are_told_of(
    client: httpx.AsyncClient, workflows: Workflows
) -> None:
    run = make_run(work_url="s3://lab/runs/r1/")
    await workflows.runs.create(run)
    for rest in ("files/x", "outputs.zip", "inputs.zip"):
        answer = await client.get(f"{TESP}/runs/{run.id}/{rest}")
        assert (answer.status_code, "wes.work_url" in answer.json()["msg"]) == (404, True), answer.text
    assert (await client.get(f"{WES}/runs/{run.id}")).status_code == 200


@pytest.mark.parametrize("depth", [0, 300, 700])
async def test_outputs_of_old_that_cannot_be_told(
    client: httpx.AsyncClient, workflows: Workflows, depth: int
) -> None:
    value: Any = "\ud800"
    for _ in range(depth):
        value = [value]
    run_id = await submit(client)
    await end(workflows, run_id, await claimed(workflows, run_id), {"odd": value})
    shown = await client.get(f"{WES}/runs/{run_id}")
    assert shown.status_code == 200, shown.text
    assert (shown.json()["state"], shown.json()["outputs"]) == ("COMPLETE", {})
    told = shown.json()["run_log"]["system_logs"][-1]
    assert told.startswith("the outputs of the workflow cannot be told as JSON: ")
    archive = await client.get(f"{TESP}/runs/{run_id}/outputs.zip")
    assert zipfile.ZipFile(io.BytesIO(archive.content)).read("outputs.json") == b"{}\n"
    used = await client.post(f"{WES}/runs", json=WEB | {"workflow_params": {"x": f"run://{run_id}/odd"}})
    assert used.status_code == 400
    assert "cannot be told as JSON" in used.json()["msg"]


async def test_only_an_ended_run_is_deleted(client: httpx.AsyncClient, workflows: Workflows) -> None:
    run_id = await submit(client)
    answer = await client.delete(f"{TESP}/runs/{run_id}")
    assert (answer.status_code, "QUEUED" in answer.json()["msg"]) == (409, True)
    await end(workflows, run_id, await claimed(workflows, run_id))
    assert (await client.delete(f"{TESP}/runs/{run_id}")).status_code == 204
    assert (await client.get(f"{WES}/runs/{run_id}")).status_code == 404
    assert (await client.delete(f"{TESP}/runs/{run_id}")).status_code == 404


async def test_the_service_says_what_it_can(client: httpx.AsyncClient, workflows: Workflows) -> None:
    await submit(client)
    info = (await client.get(f"{WES}/service-info")).json()
    assert info["type"] == {"group": "org.ga4gh", "artifact": "wes", "version": "1.1.0"}
    assert info["workflow_type_versions"] == {"SCRIPT": {"workflow_type_version": ["v1", "v1.1"]}}
    assert info["workflow_engine_versions"] == {"script": {"workflow_engine_version": ["1.0"]}}
    assert info["default_workflow_engine_parameters"] == [
        {"name": "resume", "type": "string", "default_value": ""},
        {"name": "mood", "type": "string", "default_value": "calm"},
    ]
    assert info["system_state_counts"]["QUEUED"] == 1
    assert info["system_state_counts"]["COMPLETE"] == 0
    assert "1.1.0" in info["supported_wes_versions"]
    assert info["auth_instructions_url"] == "http://tesp/docs"


async def test_without_workflows_there_is_no_wes(store: TaskStore, settings: Settings) -> None:
    async with connect(build_api(store, Bell(), settings, {})) as client:
        assert (await client.get(f"{WES}/runs")).status_code == 404
        assert not any("/runs" in path for path in (await client.get("/openapi.json")).json()["paths"])


async def test_too_many_runs_are_refused(store: TaskStore, settings: Settings) -> None:
    few = settings.model_copy(update={"wes": settings.wes.model_copy(update={"live_max": 1})})
    async with connect(build_api(store, Bell(), few, {}, workflows=workflows_over(store, few))) as client:
        await submit(client)
        answer = await client.post(f"{WES}/runs", data=FORM, files=attach())
        assert (answer.status_code, answer.json()["status_code"]) == (429, 429)


async def test_a_server_that_is_stopped_takes_no_runs(app: FastAPI, client: httpx.AsyncClient) -> None:
    run_id = await submit(client)
    app.state.drain.begin()
    answer = await client.post(f"{WES}/runs", data=FORM, files=attach())
    assert (answer.status_code, answer.json()["status_code"]) == (503, 503)
    assert (await client.get(f"{WES}/runs/{run_id}")).status_code == 200


async def test_the_audit_log_names_runs(client: httpx.AsyncClient, settings: Settings) -> None:
    run_id = await submit(client)
    await client.post(f"{WES}/runs/{run_id}/cancel")
    await client.delete(f"{TESP}/runs/{run_id}")
    lines = [json.loads(line) for line in (settings.data_dir / "audit.log").read_text().splitlines()]
    assert [(line["action"], line["run"], line["status"]) for line in lines] == [
        ("create a run", run_id, 200),
        ("cancel a run", run_id, 200),
        ("delete a run", run_id, 409),
    ]
    assert not any("task" in line for line in lines)


async def test_a_body_may_be_too_large(store: TaskStore, settings: Settings) -> None:
    small = settings.model_copy(update={"wes": settings.wes.model_copy(update={"max_body_bytes": 400_000})})
    workflows = workflows_over(store, small)
    async with connect(build_api(store, Bell(), small, {}, workflows=workflows)) as client:
        for size_bytes, status in ((350_000, 200), (450_000, 413)):
            files = attach(data=b"x" * size_bytes)
            answer = await client.post(f"{WES}/runs", data=FORM, files=files)
            assert answer.status_code == status
        answer = await client.post(f"{WES}/runs", json=WEB | {"workflow_params": {"x": "y" * 350_000}})
        assert answer.status_code == 413


async def test_urls_lead_through_the_proxy(store: TaskStore, settings: Settings) -> None:
    behind = settings.model_copy(update={"server": settings.server.model_copy(update={"root_path": "/tes"})})
    async with connect(
        build_api(store, Bell(), behind, {}, workflows=workflows_over(store, behind))
    ) as client:
        answer = await client.post(f"/tes{WES}/runs", data=FORM, files=attach())
        shown = (await client.get(f"{WES}/runs/{answer.json()['run_id']}")).json()
        assert shown["task_logs_url"].startswith("http://tesp/tes/ga4gh/wes/v1/runs/")
        assert (await client.get(shown["run_log"]["stderr"])).status_code == 200
