"""Galaxy's TES runner, that is pulsar-galaxy-lib 0.16.0 with pydantic-tes 0.4.0.

The requests were captured from its client; its models, which are installed here, read the answers.
"""

import json
from typing import Any

import httpx
import pytest
from pydantictes.models import TesListTasksResponse, TesServiceInfo, TesTask

from tesp_api.store.base import TaskStore
from tesp_api.tes.states import State
from tests.compatibility.captured_requests import captured
from tests.integration.api.life import V1, create, finish, nulls_in, start
from tests.services.gated_http import GatedHttp
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

REQUESTS = captured("galaxy-pulsar-0.16.0")

SUBMIT = """
mkdir -p /pulsar_staging/42
printf %s "$3" | base64 -d > /pulsar_staging/42/message
printf %s "$5" | base64 -d > /pulsar_staging/42/app_conf
echo 'echo tool ran > /pulsar_staging/42/output' > /pulsar_staging/42/command_line
"""
FINISH = "cat /pulsar_staging/42/output && cat /pulsar_staging/42/message"


async def test_explicit_nulls_are_accepted_and_none_comes_back(api: httpx.AsyncClient) -> None:
    """Captured: every field of its models is sent, also the read-only ones."""
    sent = REQUESTS["create"]
    assert len(nulls_in(sent.body)) > 20
    assert sent.body["id"] is sent.body["state"] is sent.body["logs"] is None
    created = await api.request(**sent.arguments())
    assert created.status_code == 200, created.text
    for view in ("MINIMAL", "BASIC", "FULL"):
        shown = (await api.get(f"{V1}/tasks/{created.json()['id']}?view={view}")).json()
        assert nulls_in(shown) == []
    assert "inputs" not in shown
    assert shown["executors"][0].keys() == {"image", "command", "workdir"}


async def test_its_password_does_not_trouble_an_open_server(api: httpx.AsyncClient) -> None:
    """Captured: basic authentication, where its destination is configured so."""
    assert REQUESTS["create"].headers["authorization"].startswith("Basic ")
    assert (await api.request(**REQUESTS["create"].arguments())).status_code == 200


@pytest.mark.services
def test_three_executors_share_the_staging_volume_and_pass_base64_arguments(server: TespServer) -> None:
    """Captured: pulsar-submit stages in, the tool's container waits for its script, pulsar-finish ends.

    The tool's command is Galaxy's; in place of Pulsar's two programs, shells do what they would.
    """
    sent = json.loads(json.dumps(REQUESTS["create"].body))
    submit, tool, finish_ = sent["executors"]
    assert (submit["command"][0], tool["command"][0], finish_["command"][0]) == (
        "pulsar-submit",
        "sh",
        "pulsar-finish",
    )
    submit["command"] = ["sh", "-ec", SUBMIT, *submit["command"]]
    finish_["command"] = ["sh", "-ec", FINISH, *finish_["command"]]
    task_id = server.client.post(REQUESTS["create"].path, json=sent).json()["id"]
    task = server.wait(task_id)
    assert task["state"] == "COMPLETE", task
    logs = task["logs"][0]["logs"]
    assert [log["exit_code"] for log in logs] == [0, 0, 0]
    assert logs[1]["stdout"] == "running script\nran script\n"
    first, _, message = logs[2]["stdout"].partition("\n")
    assert first == "tool ran"
    assert json.loads(message)["command_line"] == "echo hi > out"


@pytest.mark.services
def test_its_executors_reach_the_network_where_the_site_allows_it() -> None:
    """Pulsar's two programs fetch and send a job's files by HTTP themselves.

    Source: pulsar-galaxy-lib 0.16.0, pulsar/client/coexecution.py, launch: no inputs or outputs are
    declared. Docker's containers have a network anyway; bubblewrap gets the host's by a setting.
    """
    network = {"TESP_API_DESTINATIONS__LOCAL__NETWORK": "host"}
    with GatedHttp() as web, TespServer(ONLY_BUBBLEWRAP | network) as server:
        web.files["/job"] = b"from Galaxy"
        fetch = {"image": "galaxy/pulsar-pod-staging", "command": ["curl", "-sf", f"{web.url}/job"]}
        task = server.run({"executors": [fetch]})
    assert task["logs"][0]["logs"][0]["stdout"] == "from Galaxy"


async def test_its_models_read_a_task_in_every_state(api: httpx.AsyncClient, store: TaskStore) -> None:
    """Captured: it polls FULL. Its models know the states of TES 1.0, and an exit code must be there."""
    seen: list[Any] = []
    task_id = await create(api, V1)

    async def look() -> None:
        answer = await api.request(**REQUESTS["get FULL"].filled(task_id=task_id).arguments())
        read = TesTask(**answer.json())
        assert read.state is not None
        seen.append(read.state.value)

    await look()
    held = await start(store, task_id)
    await look()
    await finish(store, held, b"out")
    await look()
    task_id = await create(api, V1)
    held = await start(store, task_id)
    canceled = await api.request(**REQUESTS["cancel"].filled(task_id=task_id).arguments())
    assert (canceled.status_code, canceled.json()) == (200, {})
    await look()
    await store.transition(task_id, State.CANCELED, claim=held, reason="killed")
    await look()
    assert seen == ["QUEUED", "RUNNING", "COMPLETE", "CANCELED", "CANCELED"]


async def test_its_models_read_a_list_and_the_service_info(api: httpx.AsyncClient) -> None:
    """Captured: the list is asked for without a view, and its items then have no executors.

    Source: pydantic-tes 0.4.0, pydantictes/api.py, _hack_list_response_around_funnel.
    """
    task_id = await create(api, V1)
    page = (await api.request(**REQUESTS["list"].arguments())).json()
    assert page["tasks"] == [{"id": task_id, "state": "QUEUED"}]
    TesListTasksResponse(tasks=[TesTask(**one, executors=[]) for one in page["tasks"]])
    TesServiceInfo(**(await api.request(**REQUESTS["service-info"].arguments())).json())
