"""What no client may meet, on the tasks of all of them, under both prefixes."""

import re
from datetime import datetime
from typing import Any

import httpx
import pytest

from tesp_api.store.base import Changes, TaskStore
from tests.compatibility.captured_requests import captured
from tests.compatibility.cited_requests import NEXTFLOW_COMMAND, cromwell_task, nextflow_task
from tests.integration.api.life import TES, V1, create, finish, nulls_in, start

TASKS: dict[str, dict[str, Any]] = {
    "snakemake-9.27.1": captured("snakemake-9.27.1")["create"].body,
    "toil-7.0.0": captured("toil-7.0.0")["create"].filled(shared="/shared").body,
    "galaxy-pulsar-0.16.0": captured("galaxy-pulsar-0.16.0")["create"].body,
    "crankshaft-0.10.0": captured("crankshaft-0.10.0")["create"].filled(shared="/shared").body,
    "py-tes-0.4.2": captured("py-tes-0.4.2")["create"].filled(shared="/shared").body,
    "py-tes-1.1.4": captured("py-tes-1.1.4")["create"].filled(shared="/shared").body,
    "nextflow": nextflow_task("/shared/3a/bc", NEXTFLOW_COMMAND),
    "cromwell": cromwell_task("/shared/call"),
}
EVERY_CLIENT = pytest.mark.parametrize("sent", TASKS.values(), ids=list(TASKS))
PREFIXES = pytest.mark.parametrize("prefix", [TES, V1])
FILLED_IN = {"id", "state", "creation_time", "logs"}


def added_to(sent: Any, shown: Any, path: str = "") -> list[str]:
    """Where an answer has a field that the client did not send (or sent as null), `type` aside."""
    if isinstance(shown, dict):
        of = sent if isinstance(sent, dict) else {}
        new = [f"{path}.{key}" for key in shown if of.get(key) is None and key != "type"]
        return new + [
            at for key, item in shown.items() for at in added_to(of.get(key), item, f"{path}.{key}")
        ]
    if isinstance(shown, list) and isinstance(sent, list):
        pairs = zip(sent, shown, strict=True)
        return [at for index, (a, b) in enumerate(pairs) for at in added_to(a, b, f"{path}[{index}]")]
    return []


def without_null_tags(sent: dict[str, Any]) -> dict[str, Any]:
    """A tag that was sent as null is shown as an empty one."""
    return sent | {"tags": {key: value or "" for key, value in (sent.get("tags") or {}).items()}}


@EVERY_CLIENT
@PREFIXES
async def test_no_null_and_no_field_that_was_not_sent(
    api: httpx.AsyncClient, store: TaskStore, sent: dict[str, Any], prefix: str
) -> None:
    """Clients on py-tes stumble over unknown keys, others over nulls."""
    task_id = await create(api, prefix, **sent)

    async def look() -> None:
        for view in ("MINIMAL", "BASIC", "FULL"):
            for path in (f"{prefix}/tasks/{task_id}?view={view}", f"{prefix}/tasks?view={view}"):
                answer = (await api.get(path)).json()
                assert nulls_in(answer) == []
                shown = answer["tasks"][0] if "tasks" in answer else answer
                request = {key: value for key, value in shown.items() if key not in FILLED_IN}
                assert added_to(without_null_tags(sent), request) == []

    await look()
    await finish(store, await start(store, task_id), b"out", b"err")
    await look()


@EVERY_CLIENT
@PREFIXES
async def test_the_type_of_each_input_and_output_is_filled_in(
    api: httpx.AsyncClient, sent: dict[str, Any], prefix: str
) -> None:
    task_id = await create(api, prefix, **sent)
    shown = (await api.get(f"{prefix}/tasks/{task_id}?view=FULL")).json()
    files = [*shown.get("inputs", ()), *shown.get("outputs", ())]
    assert {file["type"] for file in files} <= {"FILE", "DIRECTORY"}


@EVERY_CLIENT
@PREFIXES
async def test_the_default_view_is_minimal(api: httpx.AsyncClient, sent: dict[str, Any], prefix: str) -> None:
    task_id = await create(api, prefix, **sent)
    minimal = {"id": task_id, "state": "QUEUED"}
    assert (await api.get(f"{prefix}/tasks/{task_id}")).json() == minimal
    assert (await api.get(f"{prefix}/tasks")).json() == {"tasks": [minimal]}


@EVERY_CLIENT
@PREFIXES
async def test_ids_times_logs_and_numbers_have_the_forms_that_all_can_read(
    api: httpx.AsyncClient, store: TaskStore, sent: dict[str, Any], prefix: str
) -> None:
    task_id = await create(api, prefix, **sent)
    assert re.fullmatch(r"[A-Za-z0-9-]+", task_id)
    queued = (await api.get(f"{prefix}/tasks/{task_id}?view=FULL")).json()
    assert queued["logs"] == []
    await finish(store, await start(store, task_id), b"out")
    ended = (await api.get(f"{prefix}/tasks/{task_id}?view=FULL")).json()
    (log,) = ended["logs"]
    times = [ended["creation_time"], *(entry["start_time"] for entry in log["logs"])]
    assert all(datetime.fromisoformat(time).utcoffset() is not None for time in times)
    assert [type(entry["exit_code"]) for entry in log["logs"]] == [int]
    assert [type(output["size_bytes"]) for output in log["outputs"]] == [str]
    assert {type(value) for value in log["metadata"].values()} == {str}
    assert {type(value) for value in ended.get("tags", {}).values()} <= {str}
    assert type(ended.get("resources", {}).get("cpu_cores", 1)) is int


@EVERY_CLIENT
async def test_read_only_fields_are_ignored(api: httpx.AsyncClient, sent: dict[str, Any]) -> None:
    theirs = {"id": "mine", "state": "COMPLETE", "creation_time": "yesterday", "logs": [{"logs": 7}]}
    answer = await api.post(f"{TES}/tasks", json=sent | theirs)
    assert answer.status_code == 200, answer.text
    shown = (await api.get(f"{TES}/tasks/{answer.json()['id']}?view=FULL")).json()
    assert shown["id"] == answer.json()["id"] != "mine"
    assert (shown["state"], shown["logs"]) == ("QUEUED", [])
    assert shown["creation_time"] != "yesterday"


@PREFIXES
async def test_an_executor_that_still_runs_is_not_listed(
    api: httpx.AsyncClient, store: TaskStore, prefix: str
) -> None:
    """Galaxy, crankshaft and Nextflow take the exit code of each executor that is listed."""
    task_id = await create(api, prefix)
    held = await start(store, task_id)
    running = {"logs": [{"start_time": "2026-01-01T00:00:00+00:00"}], "outputs": []}
    await store.update(task_id, Changes(log=running), claim=held)
    for view in ("BASIC", "FULL"):
        shown = (await api.get(f"{prefix}/tasks/{task_id}?view={view}")).json()
        [log] = shown["logs"]
        assert (log["logs"], log["outputs"]) == ([], [])


@PREFIXES
@pytest.mark.parametrize("credentials", ["Basic Tm9uZTpOb25l", "Bearer none", "Nonsense", ""])
async def test_credentials_that_nobody_asked_for_are_ignored(
    api: httpx.AsyncClient, prefix: str, credentials: str
) -> None:
    headers = {"Authorization": credentials}
    created = await api.post(f"{prefix}/tasks", json=TASKS["toil-7.0.0"], headers=headers)
    assert created.status_code == 200
    for path in ("tasks", f"tasks/{created.json()['id']}", "service-info"):
        assert (await api.get(f"{prefix}/{path}", headers=headers)).status_code == 200
