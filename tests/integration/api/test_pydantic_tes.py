"""pydantic-tes 0.4, which Galaxy uses, over a real socket: its models are stricter than py-tes's."""

from collections.abc import Iterator

import pytest
from pydantictes.api import TesClient
from pydantictes.models import TesExecutor, TesFileType, TesInput, TesOutput, TesResources, TesState, TesTask

from tesp_api.settings import Settings
from tests.integration.api.live import live_api

TASK = TesTask(
    name="from pydantic-tes",
    description="sends nulls for all that is not set",
    inputs=[
        TesInput(path="/in", type=TesFileType.FILE, content="x"),
        TesInput(path="/d", type=TesFileType.DIRECTORY, url="/data/d"),
    ],
    outputs=[TesOutput(path="/out", url="file:///data/out", type=TesFileType.FILE)],
    resources=TesResources(cpu_cores=2, ram_gb=0.5, zones=["here"]),
    executors=[TesExecutor(image="alpine", command=["echo", "hi"], env={"A": "b"})],
    volumes=["/scratch"],
    tags={"k": "v"},
)


@pytest.fixture
def client(settings: Settings) -> Iterator[TesClient]:
    with live_api(settings) as url:
        yield TesClient(f"{url}/")


def test_a_task_goes_in_and_comes_out(client: TesClient) -> None:
    created = client.create_task(TASK)
    shown = client.get_task(created, "FULL")
    assert (shown.id, shown.state, shown.logs) == (created.id, TesState.QUEUED, [])
    unset = {"id", "state", "logs", "creation_time"}
    assert shown.model_dump(exclude=unset) == TASK.model_dump(exclude=unset)
    basic = client.get_task(created, "BASIC")
    assert basic.inputs
    assert [one.content for one in basic.inputs] == [None, None]


def test_lists_and_cancel(client: TesClient) -> None:
    made = [client.create_task(TASK).id for _ in range(3)]
    client.cancel_task(made[0])
    listed = client.list_tasks().tasks
    assert [one.id for one in listed] == made[::-1]
    assert [one.state for one in listed] == [TesState.QUEUED, TesState.QUEUED, TesState.CANCELED]


def test_service_info(client: TesClient) -> None:
    info = client.service_info()
    assert info.storage
    assert "file:///data" in info.storage
    assert info.type.artifact == "tes"
