"""py-tes 1.1, the library under most clients, over a real socket."""

from collections.abc import Iterator

import pytest
import tes

from tesp_api.settings import Settings
from tests.integration.api.live import live_api


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with live_api(settings) as address:
        yield address


@pytest.fixture
def client(url: str) -> tes.HTTPClient:
    return tes.HTTPClient(url)


def task() -> tes.Task:
    return tes.Task(
        name="from py-tes",
        executors=[tes.Executor(image="alpine", command=["echo", "hi"], env={"A": "b"})],
        inputs=[tes.Input(path="/in", content="x"), tes.Input(path="/d", url="/data/d", type="DIRECTORY")],
        outputs=[tes.Output(path="/out", url="file:///data/out")],
        resources=tes.Resources(cpu_cores=1, ram_gb=0.5, zones=["here"]),
        volumes=["/scratch"],
        tags={"k": "v"},
    )


@pytest.mark.parametrize("view", ["MINIMAL", "BASIC", "FULL"])
def test_a_task_goes_in_and_comes_out(client: tes.HTTPClient, view: str) -> None:
    task_id = client.create_task(task())
    shown = client.get_task(task_id, view)
    assert (shown.id, shown.state) == (task_id, "QUEUED")
    if view == "FULL":
        assert shown.executors == task().executors
        assert shown.tags == {"k": "v"}
        assert [one.type for one in shown.inputs] == ["FILE", "DIRECTORY"]
        assert shown.logs == []
        assert shown.creation_time.utcoffset() is not None


def test_lists_are_paged(client: tes.HTTPClient) -> None:
    made = [client.create_task(task()) for _ in range(3)]
    first = client.list_tasks(page_size=2)
    rest = client.list_tasks(view="FULL", page_token=first.next_page_token)
    assert [one.id for one in first.tasks + rest.tasks] == made[::-1]
    assert rest.next_page_token is None


def test_cancel(client: tes.HTTPClient) -> None:
    task_id = client.create_task(task())
    client.cancel_task(task_id)
    assert client.get_task(task_id, "MINIMAL").state in {"CANCELING", "CANCELED"}


def test_service_info(client: tes.HTTPClient) -> None:
    info = client.get_service_info()
    assert info.type["artifact"] == "tes"
    assert "file:///data" in info.storage


def test_a_refusal_is_told(client: tes.HTTPClient) -> None:
    wrong = task()
    wrong.executors = []
    with pytest.raises(Exception, match="400"):
        client.create_task(wrong)
