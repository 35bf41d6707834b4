"""Points of the TES 1.1 specification that servers get wrong, and clients rely on.

Source: GA4GH task-execution-schemas 1.1.0, openapi/task_execution_service.openapi.yaml.
"""

from typing import Any

import httpx
import pytest

from tesp_api.store.base import Changes, Job, TaskStore
from tesp_api.tes.states import State
from tests.compatibility.conftest import Roots
from tests.integration.api.life import TES, V1, create, finish, start
from tests.services.tesp import TespServer

PREFIXES = pytest.mark.parametrize("prefix", [TES, V1])


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"image": "busybox:latest", "command": ["sh", "-c", script], **more}


@PREFIXES
@pytest.mark.parametrize(("page_size", "status"), [(1, 200), (2047, 200), (2048, 400), (0, 400)])
async def test_the_page_size_is_less_than_2048(
    api: httpx.AsyncClient, prefix: str, page_size: int, status: int
) -> None:
    assert (await api.get(f"{prefix}/tasks?page_size={page_size}")).status_code == status


@PREFIXES
@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("tag_key=a&tag_value=1", ["one", "both"]),
        ("tag_key=a&tag_value=1&tag_key=b&tag_value=2", ["both"]),
        ("tag_key=a&tag_key=b&tag_value=1&tag_value=2", ["both"]),
        ("tag_key=a&tag_value=1&tag_key=b&tag_value=1", []),
        ("tag_key=a", ["one", "both", "empty"]),
        ("tag_key=a&tag_value=", ["one", "both", "empty"]),
        ("tag_key=c", []),
    ],
)
async def test_tag_filters_are_zipped_and_all_must_hold(
    api: httpx.AsyncClient, prefix: str, query: str, matches: list[str]
) -> None:
    """A missing or empty value matches any, but the key must be there."""
    tags = {"one": {"a": "1"}, "both": {"a": "1", "b": "2"}, "empty": {"a": ""}, "none": {}}
    names = {await create(api, prefix, tags=of_name): name for name, of_name in tags.items()}
    page = (await api.get(f"{prefix}/tasks?{query}")).json()
    assert [names[task["id"]] for task in page["tasks"]][::-1] == matches


async def test_basic_leaves_out_what_only_full_shows(api: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(api, inputs=[{"path": "/a", "content": "text"}])
    await finish(store, await start(store, task_id), b"out", b"err")
    basic = (await api.get(f"{TES}/tasks/{task_id}?view=BASIC")).json()
    full = (await api.get(f"{TES}/tasks/{task_id}?view=FULL")).json()
    for shown, there in ((basic, False), (full, True)):
        assert ("content" in shown["inputs"][0]) is there
        assert ("system_logs" in shown["logs"][0]) is there
        assert [name in shown["logs"][0]["logs"][0] for name in ("stdout", "stderr")] == [there] * 2


async def test_each_attempt_adds_to_the_logs(api: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(api)
    held = await start(store, task_id)
    first = {"logs": [], "outputs": [], "system_logs": ["the worker was lost"]}
    await store.transition(task_id, State.QUEUED, claim=held, reason="again", changes=Changes(log=first))
    await store.update(task_id, Changes(attempt=2, job=Job("local", f"{task_id}-2")), claim=held)
    second = {"logs": [{"exit_code": 0}], "outputs": [], "system_logs": ["this time"]}
    for state in (State.INITIALIZING, State.RUNNING):
        await store.transition(task_id, state, claim=held, reason="again")
    await store.transition(task_id, State.COMPLETE, claim=held, reason="ended", changes=Changes(log=second))
    logs = (await api.get(f"{TES}/tasks/{task_id}?view=FULL")).json()["logs"]
    assert [log["system_logs"][-1] for log in logs] == ["the worker was lost", "this time"]
    assert [len(log["logs"]) for log in logs] == [0, 1]


@pytest.mark.parametrize("strict", [False, None])
async def test_unknown_backend_parameters_are_neither_kept_nor_refused(
    api: httpx.AsyncClient, strict: bool | None
) -> None:
    sent = {"backend_parameters": {"VmSize": "big", "VMSIZE": "bigger"}, "backend_parameters_strict": strict}
    task_id = await create(api, resources=sent)
    shown = (await api.get(f"{TES}/tasks/{task_id}?view=FULL")).json()
    assert "backend_parameters" not in shown["resources"]


async def test_a_path_prefix_is_needed_with_wildcards_and_ignored_without(api: httpx.AsyncClient) -> None:
    async def status(**output: str) -> int:
        sent = {"executors": [sh("true")], "outputs": [{"url": "/shared/o", **output}]}
        return (await api.post(f"{TES}/tasks", json=sent)).status_code

    assert await status(path="/out/*.txt") == 400
    assert await status(path="/out/*.txt", path_prefix="/out") == 200
    assert await status(path="/out/a.txt", path_prefix="relative/nonsense") == 200


@pytest.mark.services
def test_content_overrides_the_url(server: TespServer) -> None:
    unreachable = {"url": "http://127.0.0.1:9/nothing", "content": "the content", "path": "/in"}
    task = server.run({"inputs": [unreachable], "executors": [sh("cat /in")]})
    assert task["logs"][0]["logs"][0]["stdout"] == "the content"


@pytest.mark.services
def test_volumes_start_empty_and_are_shared_at_the_same_path(server: TespServer) -> None:
    look = "ls -A /vol/one /vol/two; touch /vol/one/mine"
    task = server.run({"volumes": ["/vol/one", "/vol/two/"], "executors": [sh(look), sh(look)]})
    assert task["state"] == "COMPLETE", task
    assert [log["stdout"] for log in task["logs"][0]["logs"]] == [
        "/vol/one:\n\n/vol/two:\n",
        "/vol/one:\nmine\n\n/vol/two:\n",
    ]


@pytest.mark.services
def test_tmp_is_writable_fresh_and_shared_by_the_executors_of_a_task(server: TespServer) -> None:
    write, read = sh("test ! -e /tmp/mine && echo kept > /tmp/mine"), sh("cat /tmp/mine")
    for _ in range(2):
        task = server.run({"executors": [write, read]})
        assert task["state"] == "COMPLETE", task
        assert task["logs"][0]["logs"][1]["stdout"] == "kept\n"


@pytest.mark.services
def test_directories_may_end_in_a_slash_and_come_home_file_by_file(server: TespServer, roots: Roots) -> None:
    here = roots.copied / "slashes"
    (here / "in" / "sub").mkdir(parents=True)
    (here / "in" / "sub" / "a").write_text("a")
    task = server.run(
        {
            "inputs": [{"url": f"{here.as_uri()}/in/", "path": "/data/in/", "type": "DIRECTORY"}],
            "outputs": [{"url": f"{here.as_uri()}/out/", "path": "/data/out/", "type": "DIRECTORY"}],
            "executors": [sh("cp -r /data/in/sub /data/out/ && echo bb > /data/out/b")],
        }
    )
    assert task["state"] == "COMPLETE", task
    assert {(one["path"], one["url"], one["size_bytes"]) for one in task["logs"][0]["outputs"]} == {
        ("/data/out/b", f"{here.as_uri()}/out/b", "3"),
        ("/data/out/sub/a", f"{here.as_uri()}/out/sub/a", "1"),
    }
    assert (here / "out" / "sub" / "a").read_text() == "a"


@pytest.mark.services
def test_percent_encoded_file_urls_name_the_decoded_path(server: TespServer, roots: Roots) -> None:
    source = roots.copied / "a #%20 ü.txt"
    source.write_text("odd name")
    task = server.run(
        {
            "inputs": [{"url": source.as_uri(), "path": "/in"}],
            "outputs": [{"url": (roots.copied / "odd out ü").as_uri(), "path": "/data/out"}],
            "executors": [sh("cp /in /data/out")],
        }
    )
    assert task["state"] == "COMPLETE", task
    assert (roots.copied / "odd out ü").read_text() == "odd name"


@pytest.mark.services
def test_outputs_and_streams_are_sent_after_an_executor_error(server: TespServer, roots: Roots) -> None:
    folder = roots.copied / "after error"
    task = server.run(
        {
            "outputs": [
                {"url": f"{folder}/{name}", "path": f"/data/{name}"} for name in ("file", "stdout", "stderr")
            ],
            "executors": [
                sh(
                    "echo f > /data/file; echo o; echo e >&2; exit 9",
                    stdout="/data/stdout",
                    stderr="/data/stderr",
                )
            ],
        }
    )
    assert task["state"] == "EXECUTOR_ERROR"
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "file": "f\n",
        "stdout": "o\n",
        "stderr": "e\n",
    }
