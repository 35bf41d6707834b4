"""py-tes 1.1.4: it tries three prefixes in turn, after a 404, any 5xx or ten seconds, and runs here."""

import time

import httpx
import pytest

from tesp_api.bell import Bell
from tesp_api.store.base import TaskQuery, TaskStore
from tests.compatibility.captured_requests import captured
from tests.compatibility.conftest import Roots
from tests.compatibility.py_tes import run_py_tes
from tests.compatibility.test_py_tes_0_4 import WHOLE_LIFE
from tests.services.recording_proxy import RecordingProxy
from tests.services.tesp import TespServer

VERSION = "1.1.4"
REQUESTS = captured("py-tes-1.1.4")

REFUSED = """
import json, sys, tes
client = tes.HTTPClient(sys.argv[1])
calls = {
    "unknown": lambda: client.get_task("nobody", "MINIMAL"),
    "wrong": lambda: client.create_task(tes.Task(executors=[])),
}
said = {}
for name, call in calls.items():
    try:
        call()
    except Exception as error:
        said[name] = str(error)
print(json.dumps(said))
"""


@pytest.mark.services
def test_a_whole_life_on_the_first_prefix_that_it_tries(server: TespServer, roots: Roots) -> None:
    """Run for real: nothing makes it fall back to another prefix, so nothing is created twice."""
    with RecordingProxy(server.url) as proxy:
        seen = run_py_tes(VERSION, WHOLE_LIFE, proxy.url, roots.mounted)
    assert seen["states"] == ["COMPLETE"] * 4
    assert seen["stdout"] == [None, "hello\n"]
    assert (seen["exit_code"], seen["size_bytes"], seen["listed"]) == (0, 6, True)
    assert all(one.path.startswith("/ga4gh/tes/v1/") and one.status == 200 for one in proxy.exchanges)
    assert [one.path for one in proxy.exchanges].count("/ga4gh/tes/v1/tasks") == 2  # one create, one list


@pytest.mark.services
def test_a_refusal_is_final_and_an_unknown_task_is_unknown_under_each_prefix(server: TespServer) -> None:
    """Run for real. Source: py-tes 1.1.4, tes/client.py, send_request and __attrs_post_init__."""
    with RecordingProxy(server.url) as proxy:
        said = run_py_tes(VERSION, REFUSED, proxy.url)
    assert "404" in said["unknown"]
    assert "400" in said["wrong"]
    assert [(one.method, one.path, one.status) for one in proxy.exchanges] == [
        ("GET", "/ga4gh/tes/v1/tasks/nobody", 404),
        ("GET", "/v1/tasks/nobody", 404),
        ("GET", "/tasks/nobody", 404),
        ("POST", "/ga4gh/tes/v1/tasks", 400),
    ]


async def test_a_create_that_stored_the_task_never_answers_5xx(
    api: httpx.AsyncClient, store: TaskStore, bell: Bell
) -> None:
    """After a 5xx it would post the task again under `/v1` (tes/client.py, send_request)."""

    def fail(_: str) -> None:
        raise RuntimeError("the runner is not there")

    bell.listen(fail)
    answer = await api.request(**REQUESTS["create"].filled(shared="/shared").arguments())
    assert answer.status_code == 200
    assert [task_id for task_id, _ in (await store.list_states(TaskQuery())).items] == [answer.json()["id"]]


@pytest.mark.services
def test_a_create_is_answered_long_before_its_ten_seconds_are_over(server: TespServer, roots: Roots) -> None:
    """While tasks run and more wait. Source: py-tes 1.1.4, tes/client.py, HTTPClient.timeout."""
    sleeping = {"executors": [{"image": "alpine", "command": ["sleep", "60"]}]}
    busy = [server.create(sleeping) for _ in range(20)]
    began = time.monotonic()
    answer = REQUESTS["create"].filled(shared=str(roots.mounted)).send(server.client)
    assert answer.status_code == 200
    assert time.monotonic() - began < 5
    for task_id in [*busy, answer.json()["id"]]:
        REQUESTS["cancel"].filled(task_id=task_id).send(server.client).raise_for_status()


async def test_service_info_names_the_standard(api: httpx.AsyncClient) -> None:
    info = (await api.request(**REQUESTS["service-info"].arguments())).json()
    assert info["type"] == {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"}
    assert info["storage"] == ["file:///shared"]
