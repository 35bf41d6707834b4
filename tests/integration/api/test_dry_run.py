"""What would become of a task, without creating it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.settings import Settings
from tesp_api.store.base import TaskQuery, TaskStore
from tests.integration.api.life import RingingBell, connect

VALIDATE = "/tesp/v1/tasks:validate"
TASK: dict[str, Any] = {"executors": [{"image": "a", "command": ["b"]}]}


@pytest.fixture
async def client(store: TaskStore, bell: RingingBell, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(build_api(store, bell, settings, {}, next_destination=lambda *_: "local")) as opened:
        yield opened


async def validate(client: httpx.AsyncClient, body: Any) -> dict[str, Any]:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = await client.post(VALIDATE, **content)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def test_a_good_task_has_a_destination_and_is_not_stored(
    client: httpx.AsyncClient, store: TaskStore, bell: RingingBell
) -> None:
    report = await validate(client, TASK)
    assert report == {"valid": True, "faults": [], "warnings": [], "destination": "local"}
    assert (await store.list_states(TaskQuery())).items == []
    assert bell.rung == []


async def test_faults_are_the_answer(client: httpx.AsyncClient) -> None:
    report = await validate(client, {"executors": [{"image": "", "command": []}], "volumes": ["x"]})
    assert report["valid"] is False
    assert {fault["field"] for fault in report["faults"]} == {
        "executors[0].image",
        "executors[0].command",
        "volumes[0]",
    }
    assert "destination" not in report


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a":1,"a":2}'])
async def test_what_is_no_task_is_a_fault_too(client: httpx.AsyncClient, body: bytes) -> None:
    assert [fault["field"] for fault in (await validate(client, body))["faults"]] == ["body"]


async def test_what_would_be_left_out_is_a_warning(client: httpx.AsyncClient) -> None:
    resources: dict[str, Any] = {"backend_parameters": {"VmSize": "big"}}
    [warning] = (await validate(client, TASK | {"resources": resources}))["warnings"]
    assert "'VmSize'" in warning
    strict = await validate(client, TASK | {"resources": resources | {"backend_parameters_strict": True}})
    assert strict["valid"] is False


@pytest.mark.parametrize(
    ("url", "reachable"),
    [
        ("/data", True),
        ("/data/x", True),
        ("file:///data/x%20y", True),
        ("file://localhost//data/./x", True),
        ("https://example.org/x", True),
        ("/database/x", False),
        ("file:///etc/passwd", False),
        ("file:///%64ata/../etc", False),
        ("/data/../etc", False),
    ],
)
async def test_files_outside_of_the_folders_are_warned_of(
    client: httpx.AsyncClient, tmp_path: Path, url: str, reachable: bool
) -> None:
    files = {"inputs": [{"path": "/i", "url": url}], "outputs": [{"path": "/o", "url": url}]}
    report = await validate(client, TASK | files)
    assert report["valid"] is True
    assert [one.partition(" ")[0] for one in report["warnings"]] == (
        [] if reachable else ["inputs[0].url", "outputs[0].url"]
    )
    if not reachable:
        assert "at local: it has" in report["warnings"][0]
        assert "/data" in report["warnings"][0]


@pytest.mark.parametrize("item", [{"content": "x", "url": "/etc/x"}, {"content": ""}])
async def test_an_input_with_content_names_no_file(client: httpx.AsyncClient, item: dict[str, str]) -> None:
    assert (await validate(client, TASK | {"inputs": [{"path": "/i"} | item]}))["warnings"] == []


async def test_without_a_runner_nothing_is_said_of_destinations(
    store: TaskStore, bell: RingingBell, settings: Settings
) -> None:
    async with connect(build_api(store, bell, settings, {})) as client:
        assert await validate(client, TASK) == {"valid": True, "faults": [], "warnings": []}
