"""py-tes 0.4.2, the library under Snakemake and Toil: it knows `/v1` and TES 1.0 alone, and runs here."""

from typing import Any

import httpx
import pytest

from tesp_api.store.base import TaskStore
from tesp_api.tes.states import State
from tests.compatibility.captured_requests import captured
from tests.compatibility.cited_requests import NEXTFLOW_COMMAND, nextflow_task
from tests.compatibility.conftest import Roots
from tests.compatibility.py_tes import assert_readable, run_py_tes
from tests.integration.api.life import TES, V1, create, finish, start
from tests.services.recording_proxy import RecordingProxy
from tests.services.tesp import TespServer

VERSION = "0.4.2"
REQUESTS = captured("py-tes-0.4.2")

WHOLE_LIFE = """
import json, sys, tes
client, shared = tes.HTTPClient(sys.argv[1]), sys.argv[2]
client.get_service_info()
task_id = client.create_task(tes.Task(
    name="whole",
    inputs=[tes.Input(path="/data/in.txt", content="hello\\n")],
    outputs=[tes.Output(path="/out/all.txt", url="file://" + shared + "/all.txt")],
    resources=tes.Resources(cpu_cores=1, ram_gb=0.5),
    executors=[tes.Executor(image="alpine", command=["sh", "-c", "cat /data/in.txt; echo $WHO >&2"],
                            stdout="/out/all.txt", env={"WHO": "me"})],
    volumes=["/vol"], tags={"k": "v"}))
client.wait(task_id, timeout=30)
views = [client.get_task(task_id, view) for view in ("MINIMAL", "BASIC", "FULL")]
for _ in range(2):
    client.cancel_task(task_id)
page = client.list_tasks(page_size=1)
log = views[2].logs[0]
print(json.dumps({
    "states": [task.state for task in views] + [client.get_task(task_id, "MINIMAL").state],
    "stdout": [view.logs[0].logs[0].stdout for view in views[1:]],
    "exit_code": log.logs[0].exit_code,
    "size_bytes": log.outputs[0].size_bytes,
    "seconds": (log.end_time - log.start_time).total_seconds(),
    "listed": page.tasks[0].id == task_id,
}))
"""


async def tasks_in_new_states(api: httpx.AsyncClient, store: TaskStore) -> tuple[str, str]:
    """A task that is PREEMPTED and one that is CANCELING: states that came with TES 1.1."""
    preempted = await create(api)
    held = await start(store, preempted)
    await store.transition(preempted, State.PREEMPTED, claim=held, reason="the site said so")
    canceling = await create(api)
    await start(store, canceling)
    await api.post(f"{V1}/tasks/{canceling}:cancel")
    return preempted, canceling


@pytest.mark.services
def test_a_whole_life_on_v1_alone(server: TespServer, roots: Roots) -> None:
    """Run for real: each of its calls works, and none leaves `/v1`."""
    with RecordingProxy(server.url) as proxy:
        seen = run_py_tes(VERSION, WHOLE_LIFE, proxy.url, roots.mounted)
    assert seen["states"] == ["COMPLETE"] * 4
    assert seen["stdout"] == [None, "hello\n"]
    assert (seen["exit_code"], seen["size_bytes"], seen["listed"]) == (0, 6, True)
    assert seen["seconds"] >= 0
    assert all(one.path.startswith("/v1/") and one.status == 200 for one in proxy.exchanges)


@pytest.mark.services
async def test_it_meets_no_state_of_1_1_on_v1(api: httpx.AsyncClient, store: TaskStore) -> None:
    """Source: py-tes 0.4.2, tes/models.py, class Task: a state that is not in its list is an error."""
    preempted, canceling = await tasks_in_new_states(api, store)
    answers: list[tuple[str, Any]] = []
    for view in ("MINIMAL", "BASIC", "FULL"):
        page = (await api.get(f"{V1}/tasks", params={"view": view})).json()
        states = {task["id"]: task["state"] for task in page["tasks"]}
        assert states == {canceling: "CANCELED", preempted: "SYSTEM_ERROR"}
        answers.append(("ListTasksResponse", page))
        answers += [("Task", (await api.get(f"{V1}/tasks/{one}?view={view}")).json()) for one in states]
    assert_readable(VERSION, answers)


@pytest.mark.parametrize(
    ("state", "on_v1", "on_1_1"),
    [
        ("CANCELED", ["canceling"], []),
        ("CANCELING", [], ["canceling"]),
        ("SYSTEM_ERROR", ["preempted"], []),
        ("PREEMPTED", [], ["preempted"]),
        ("PAUSED", [], []),
    ],
)
async def test_filters_on_v1_agree_with_the_states_shown(
    api: httpx.AsyncClient, store: TaskStore, state: str, on_v1: list[str], on_1_1: list[str]
) -> None:
    preempted, canceling = await tasks_in_new_states(api, store)
    names = {preempted: "preempted", canceling: "canceling"}
    for prefix, expected in ((V1, on_v1), (TES, on_1_1)):
        page = (await api.get(f"{prefix}/tasks", params={"state": state})).json()
        assert [names[task["id"]] for task in page["tasks"]] == expected


@pytest.mark.services
async def test_it_can_read_the_tasks_of_clients_that_use_fields_of_1_1(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """Unknown keys are an error for it, and a list holds everybody's tasks (utils.py, unmarshal)."""
    wildcard = {"url": "/shared/w", "path": "/work/*.txt", "path_prefix": "/work"}
    sent = [
        captured("py-tes-1.1.4")["create"].filled(shared="/shared").body,
        captured("crankshaft-0.10.0")["create"].filled(shared="/shared", tag="t").body,
        captured("galaxy-pulsar-0.16.0")["create"].body,
        nextflow_task("/shared/w", NEXTFLOW_COMMAND, outputs=(wildcard,)),
    ]
    made = [await create(api, V1, **body) for body in sent]
    await finish(store, await start(store, made[0]), b"out", b"err")
    answers = [
        ("ListTasksResponse", (await api.get(f"{V1}/tasks?view={view}")).json()) for view in ("BASIC", "FULL")
    ]
    assert [len(page["tasks"]) for _, page in answers] == [len(sent)] * 2
    assert_readable(VERSION, answers)


async def test_fields_of_1_1_are_shown_where_1_1_is_spoken(api: httpx.AsyncClient) -> None:
    """What `/v1` leaves out is stored, and `/ga4gh/tes/v1` shows it."""
    sent = captured("py-tes-1.1.4")["create"].filled(shared="/shared").body
    task_id = await create(api, V1, **sent)
    shown = (await api.get(f"{TES}/tasks/{task_id}?view=FULL")).json()
    assert shown["executors"][0]["ignore_error"] is True
    assert shown["inputs"][1]["streamable"] is True
    assert shown["resources"]["backend_parameters_strict"] is False


async def test_service_info_has_the_three_fields_that_it_knows(api: httpx.AsyncClient) -> None:
    """Captured: it asks `/v1/tasks/service-info`, which looks like the path of a task."""
    answer = await api.request(**REQUESTS["service-info"].arguments())
    assert answer.status_code == 200
    assert answer.json().keys() == {"name", "doc", "storage"}


async def test_the_last_page_has_no_token(api: httpx.AsyncClient) -> None:
    """Captured: it asks on with `page_token` until none comes."""
    oldest, newest = await create(api, V1), await create(api, V1)
    first = (await api.request(**REQUESTS["list"].arguments())).json()
    assert [task["id"] for task in first["tasks"]] == [newest]
    asked = REQUESTS["list next page"].filled(page_token=first["next_page_token"])
    last = (await api.request(**asked.arguments())).json()
    assert [task["id"] for task in last["tasks"]] == [oldest]
    assert not last.get("next_page_token")


async def test_sizes_are_strings_for_it_to_turn_into_numbers(
    api: httpx.AsyncClient, store: TaskStore
) -> None:
    """Source: py-tes 0.4.2, tes/models.py, OutputFileLog (int64conv)."""
    task_id = await create(api, V1)
    await finish(store, await start(store, task_id), b"")
    full = await api.request(**REQUESTS["get FULL"].filled(task_id=task_id).arguments())
    assert [output["size_bytes"] for output in full.json()["logs"][0]["outputs"]] == ["12"]
