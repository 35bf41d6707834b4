"""The sentences of TES 1.1 that no other test is about, each quoted or named where it is tested."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tesp_api.store.base import Changes, TaskStore
from tesp_api.tes import backend_parameters
from tesp_api.tes.states import FINAL, State
from tests.integration.api.life import TES, V1, claim, create, finish, start

RFC_3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"

WHOLE: dict[str, Any] = {
    "name": "whole",
    "description": "has every field that a client may set",
    "inputs": [
        {"name": "i", "description": "d", "path": "/i", "url": "/data/i", "type": "FILE", "streamable": True},
        {"path": "/c", "content": "text", "url": "s3://ignored/where/content/is", "type": "FILE"},
        {"path": "/d", "url": "file:///data/d", "type": "DIRECTORY", "streamable": False},
    ],
    "outputs": [
        {"name": "o", "description": "d", "path": "/o", "url": "/data/o", "type": "FILE"},
        {"path": "/p/*.txt", "path_prefix": "/p", "url": "file:///data/p", "type": "DIRECTORY"},
    ],
    "resources": {
        "cpu_cores": 2,
        "preemptible": False,
        "ram_gb": 1.5,
        "disk_gb": 2.0,
        "zones": ["z"],
        "backend_parameters_strict": False,
    },
    "executors": [
        {
            "image": "a",
            "command": ["b", ""],
            "workdir": "/w",
            "stdin": "/i",
            "stdout": "/out",
            "stderr": "/err",
            "env": {"A": "b", "EMPTY": ""},
            "ignore_error": True,
        }
    ],
    "volumes": ["/v"],
    "tags": {"k": "v", "": ""},
}
LOG: dict[str, Any] = {
    "logs": [{"start_time": "2026-01-01T00:00:00+00:00", "end_time": "2026-01-01T00:00:01Z", "exit_code": 3}],
    "metadata": {"host": "h"},
    "start_time": "2026-01-01T00:00:00+00:00",
    "end_time": "2026-01-01T00:00:02+00:00",
    "outputs": [{"url": "file:///data/o", "path": "/o", "size_bytes": 2**53 + 1}],
    "system_logs": ["said"],
}


async def shown(client: httpx.AsyncClient, task_id: str, view: str, prefix: str = TES) -> dict[str, Any]:
    answer = await client.get(f"{prefix}/tasks/{task_id}?view={view}")
    assert answer.status_code == 200, answer.text
    task: dict[str, Any] = answer.json()
    return task


@pytest.fixture
async def ended(client: httpx.AsyncClient, store: TaskStore) -> str:
    """The id of a task with every field, and with logs in every field."""
    task_id = await create(client, **WHOLE)
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "stdout", 0, b"to stdout")
    await store.append_log(held, 1, 0, "stderr", 0, b"to stderr")
    changes = Changes(log=LOG)
    await store.transition(task_id, State.EXECUTOR_ERROR, claim=held, reason="3", changes=changes)
    return task_id


async def test_full_includes_all_fields_as_they_were_sent(client: httpx.AsyncClient, ended: str) -> None:
    task = await shown(client, ended, "FULL")
    assert {key: task[key] for key in WHOLE} == WHOLE
    assert task.keys() - WHOLE.keys() == {"id", "state", "creation_time", "logs"}
    [log] = task["logs"]
    assert log.keys() == LOG.keys()
    assert log["logs"] == [LOG["logs"][0] | {"stdout": "to stdout", "stderr": "to stderr"}]
    assert log["system_logs"][-1] == "said"


@pytest.mark.parametrize("prefix", [TES, V1])
async def test_basic_is_full_except_four_fields(client: httpx.AsyncClient, ended: str, prefix: str) -> None:
    full = await shown(client, ended, "FULL", prefix)
    del full["inputs"][1]["content"]
    del full["logs"][0]["system_logs"]
    del full["logs"][0]["logs"][0]["stdout"]
    del full["logs"][0]["logs"][0]["stderr"]
    assert await shown(client, ended, "BASIC", prefix) == full
    [listed] = (await client.get(f"{prefix}/tasks?view=BASIC")).json()["tasks"]
    assert listed == full


@pytest.mark.parametrize("query", ["", "?view=MINIMAL", "?view="])
async def test_minimal_is_the_default_and_has_only_id_and_state(
    client: httpx.AsyncClient, ended: str, query: str
) -> None:
    minimal = {"id": ended, "state": "EXECUTOR_ERROR"}
    assert (await client.get(f"{TES}/tasks/{ended}{query}")).json() == minimal
    assert (await client.get(f"{TES}/tasks{query}")).json() == {"tasks": [minimal]}


async def test_int64_is_a_string_times_are_rfc_3339_and_nothing_is_null(
    client: httpx.AsyncClient, ended: str
) -> None:
    for view in ("BASIC", "FULL"):
        task = await shown(client, ended, view)
        assert task["logs"][0]["outputs"][0]["size_bytes"] == "9007199254740993"
        text = json.dumps(task)
        assert "null" not in text
        times = re.findall(r'"(?:creation|start|end)_time": "([^"]+)"', text)
        assert len(times) == 5
        assert all(re.fullmatch(RFC_3339, moment) for moment in times)


async def test_the_type_of_a_file_is_filled_in(client: httpx.AsyncClient) -> None:
    """It is required that the server fill in the value once the information is available at run time."""
    files = [{"path": "/i", "url": "/data/i"}, {"path": "/n", "url": "/data/n", "type": None}]
    task_id = await create(client, inputs=files, outputs=files)
    task = await shown(client, task_id, "BASIC")
    assert {item["type"] for item in task["inputs"] + task["outputs"]} == {"FILE"}


async def test_what_the_server_sets_is_not_taken_from_the_client(client: httpx.AsyncClient) -> None:
    claimed: dict[str, Any] = {
        "id": "mine",
        "state": "COMPLETE",
        "creation_time": "2000-01-01T00:00:00Z",
        "logs": [LOG],
    }
    task_id = await create(client, **claimed)
    task = await shown(client, task_id, "FULL")
    assert task["id"] == task_id != "mine"
    assert (task["state"], task["logs"]) == ("QUEUED", [])
    assert not task["creation_time"].startswith("2000")


async def test_content_of_128_kib_is_supported(client: httpx.AsyncClient) -> None:
    content = "ü" * (64 * 1024)
    task_id = await create(client, inputs=[{"path": "/i", "content": content}])
    assert (await shown(client, task_id, "FULL"))["inputs"][0]["content"] == content


# The table of ListTasks, tag_key: filter, tags, match.
TAG_TABLE = [
    ({"foo": "bar"}, {"foo": "bar"}, True),
    ({"foo": "bar"}, {"foo": "bat"}, False),
    ({"foo": ""}, {"foo": ""}, True),
    ({"foo": "bar", "baz": "bat"}, {"foo": "bar", "baz": "bat"}, True),
    ({"foo": "bar"}, {"foo": "bar", "baz": "bat"}, True),
    ({"foo": "bar", "baz": "bat"}, {"foo": "bar"}, False),
    ({"foo": ""}, {"foo": "bar"}, True),
    ({"foo": ""}, {}, False),
]


@pytest.mark.parametrize("prefix", [TES, V1])
@pytest.mark.parametrize(("wanted", "tags", "match"), TAG_TABLE)
async def test_the_table_of_tags(
    client: httpx.AsyncClient, prefix: str, wanted: dict[str, str], tags: dict[str, str], match: bool
) -> None:
    task_id = await create(client, tags=tags)
    expected = [task_id] if match else []
    pairs = [pair for key, value in wanted.items() for pair in (("tag_key", key), ("tag_value", value))]
    without_empty = [pair for pair in pairs if pair != ("tag_value", "")]
    for query in (urlencode(pairs), urlencode(without_empty)):
        page = (await client.get(f"{prefix}/tasks?{query}")).json()
        assert [task["id"] for task in page["tasks"]] == expected


async def test_the_default_page_has_256_tasks(client: httpx.AsyncClient) -> None:
    task = {"executors": [{"image": "a", "command": ["b"]}]}
    made = (await client.post("/tesp/v1/tasks:bulk", json={"tasks": [task] * 300})).json()["tasks"]
    first = (await client.get(f"{TES}/tasks")).json()
    rest = (await client.get(f"{TES}/tasks?page_token={first['next_page_token']}")).json()
    assert (len(first["tasks"]), len(rest["tasks"])) == (256, 44)
    ids = [task["id"] for task in first["tasks"] + rest["tasks"]]
    assert ids == [one["id"] for one in reversed(made)]


async def test_a_page_token_tells_nothing_and_is_good_under_other_filters(client: httpx.AsyncClient) -> None:
    made = [await create(client) for _ in range(3)]
    token = (await client.get(f"{TES}/tasks?page_size=1")).json()["next_page_token"]
    assert not any(task_id in token for task_id in made)
    await client.post(f"{TES}/tasks/{made[2]}:cancel")  # where the token stands: the pages do not shift
    rest = (await client.get(f"{TES}/tasks?page_token={token}&view=FULL")).json()
    assert [task["id"] for task in rest["tasks"]] == made[1::-1]


@pytest.mark.parametrize("prefix", [TES, V1])
@pytest.mark.parametrize("state", sorted(FINAL))
async def test_cancel_leaves_every_ended_task_as_it_is(
    client: httpx.AsyncClient, store: TaskStore, prefix: str, state: State
) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    if state is State.CANCELED:
        await store.request_cancel(task_id, "first")
    await store.transition(task_id, state, claim=held, reason="over")
    history = await store.history(task_id)
    for _ in range(2):
        answer = await client.post(f"{prefix}/tasks/{task_id}:cancel")
        assert (answer.status_code, answer.json()) == (200, {})
    assert await store.get_state(task_id) is state
    assert await store.history(task_id) == history


async def test_canceling_twice_is_written_down_once(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    await claim(store, task_id)
    for _ in range(3):
        assert (await client.post(f"{TES}/tasks/{task_id}:cancel")).status_code == 200
    assert [entry.state for entry in await store.history(task_id)] == [State.QUEUED, State.CANCELING]


async def test_v1_filters_find_what_they_show(client: httpx.AsyncClient, store: TaskStore) -> None:
    """On /v1 CANCELING is shown as CANCELED and PREEMPTED as SYSTEM_ERROR."""
    canceling, canceled, preempted, failed = [await create(client) for _ in range(4)]
    held = {task_id: await start(store, canceling) for task_id in (canceling,)}
    for task_id in (canceled, preempted, failed):
        claimed = (await store.get(task_id)).claim
        assert claimed
        held[task_id] = claimed
        for state in (State.INITIALIZING, State.RUNNING):
            await store.transition(task_id, state, claim=claimed, reason="on its way")
    for task_id in (canceling, canceled):
        await store.request_cancel(task_id, "canceled")
    for task_id, state in (
        (canceled, State.CANCELED),
        (preempted, State.PREEMPTED),
        (failed, State.SYSTEM_ERROR),
    ):
        await store.transition(task_id, state, claim=held[task_id], reason="over")

    async def found(prefix: str, state: str) -> set[str]:
        page = (await client.get(f"{prefix}/tasks?state={state}&view=BASIC")).json()
        assert {task["state"] for task in page["tasks"]} <= {state}
        return {task["id"] for task in page["tasks"]}

    assert await found(V1, "CANCELED") == {canceling, canceled}
    assert await found(V1, "SYSTEM_ERROR") == {preempted, failed}
    assert await found(V1, "CANCELING") == await found(V1, "PREEMPTED") == set()
    assert await found(TES, "CANCELED") == {canceled}
    assert await found(TES, "CANCELING") == {canceling}
    assert await found(TES, "PREEMPTED") == {preempted}


class TestBackendParameters:
    """Of a server that supports some."""

    @pytest.fixture(autouse=True)
    def _supported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backend_parameters, "SUPPORTED", ("VmSize", "queue"))

    async def test_keys_are_case_insensitive_and_come_back_as_sent(self, client: httpx.AsyncClient) -> None:
        sent = {"vmsize": "big", "QUEUE": "long"}
        strict = {"backend_parameters": sent, "backend_parameters_strict": True}
        task_id = await create(client, resources=strict)
        assert (await shown(client, task_id, "FULL"))["resources"] == strict

    async def test_an_unsupported_key_is_logged_and_neither_stored_nor_returned(
        self, client: httpx.AsyncClient, store: TaskStore
    ) -> None:
        task_id = await create(client, resources={"backend_parameters": {"VmSize": "a", "Gpu": "secret"}})
        await finish(store, await start(store, task_id), b"")
        assert "secret" not in json.dumps(dict((await store.get(task_id)).request))
        task = await shown(client, task_id, "FULL")
        assert task["resources"]["backend_parameters"] == {"VmSize": "a"}
        [warning] = [line for line in task["logs"][0]["system_logs"] if "'Gpu'" in line]
        assert "VmSize, queue" in warning

    async def test_strict_refuses_the_task_and_names_the_key(self, client: httpx.AsyncClient) -> None:
        resources = {"backend_parameters": {"VmSize": "a", "Gpu": "1"}, "backend_parameters_strict": True}
        task = {"executors": [{"image": "a", "command": ["b"]}], "resources": resources}
        answer = await client.post(f"{TES}/tasks", json=task)
        assert answer.status_code == 400
        assert [one["field"] for one in answer.json()["faults"]] == ["resources.backend_parameters.Gpu"]

    async def test_one_key_in_two_spellings_is_refused(self, client: httpx.AsyncClient) -> None:
        resources = {"backend_parameters": {"VmSize": "a", "vmsize": "b"}}
        task = {"executors": [{"image": "a", "command": ["b"]}], "resources": resources}
        answer = await client.post(f"{TES}/tasks", json=task)
        assert answer.status_code == 400
        assert [one["field"] for one in answer.json()["faults"]] == ["resources.backend_parameters.vmsize"]

    async def test_service_info_lists_them(self, app: Any, client: httpx.AsyncClient) -> None:
        for prefix in (TES, V1):
            info = (await client.get(f"{prefix}/service-info")).json()
            assert info["tesResources_backend_parameters"] == ["VmSize", "queue"]
