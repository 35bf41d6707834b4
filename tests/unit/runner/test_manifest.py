"""What an attempt has moved is kept whole, however many files there are."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.runner import manifest
from tesp_api.runner.manifest import LINE_MAX_BYTES, MOST_TOLD, as_metadata, keep_manifest
from tesp_api.store.base import Claim
from tesp_api.store.sqlite import SqliteTaskStore
from tests.factories import make_task
from tests.unit.runner.attempts import running


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteTaskStore]:
    store = SqliteTaskStore(tmp_path)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def held(store: SqliteTaskStore) -> Claim:
    await store.create(make_task())
    (task,) = await store.claim("test", lease_s=60, new_limit=1)
    assert task.claim is not None
    return task.claim


async def kept(store: SqliteTaskStore, held: Claim) -> list[dict[str, Any]]:
    part = await store.read_log(held.task_id, 1, 0, "files", offset=0, limit=2**30)
    return [json.loads(line) for line in part.data.splitlines()]


def output(number: int) -> dict[str, Any]:
    return {"url": f"http://a/{number}", "path": f"/out/{number}", "size_bytes": number, "sha256": "ab"}


async def test_what_the_metadata_holds_is_not_kept_twice(store: SqliteTaskStore, held: Claim) -> None:
    files = [output(number) for number in range(MOST_TOLD)]
    assert as_metadata({"outputs": files}) == {"outputs": json.dumps(files)}
    assert await keep_manifest(store, held, 1, {"inputs": [], "outputs": files}) == []
    assert await kept(store, held) == []


async def test_all_of_more_files_are_kept(store: SqliteTaskStore, held: Claim) -> None:
    content = {"path": "/in", "size_bytes": 7, "sha256": "cd"}
    mounted = {"path": "/site", "url": "/site", "size_bytes": 8}
    files = [output(number) for number in range(9 * MOST_TOLD)]
    result = {"inputs": [content, mounted], "outputs": files}
    for _ in range(2):  # as after a restart
        assert await keep_manifest(store, held, 1, result) == []
    told = await kept(store, held)
    assert told[:2] == [{"direction": "input", **content}, {"direction": "input", **mounted}]
    assert told[2:] == [{"direction": "output", **file} for file in files]
    metadata = as_metadata(result)
    assert json.loads(metadata["outputs"]) == files[:MOST_TOLD]
    assert (metadata["outputs_left_out"], "inputs_left_out" in metadata) == (str(8 * MOST_TOLD), False)


async def test_what_has_no_room_is_told(
    store: SqliteTaskStore, held: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "MOST_BYTES", 100_000)
    endless = {"path": "/" + LINE_MAX_BYTES * "x", "size_bytes": 1, "sha256": "ef"}
    files = [output(number) for number in range(1200)]
    (line,) = await keep_manifest(store, held, 1, {"inputs": [endless], "outputs": files})
    told = await kept(store, held)
    assert [file["path"] for file in told] == [file["path"] for file in files[: len(told)]]
    assert line == f"The manifest is full: {1 + len(files) - len(told)} files are not in it"


async def test_whatever_a_site_says_can_be_kept(store: SqliteTaskStore, held: Claim) -> None:
    hostile = {
        "path": ["\ud800"],
        "url": {"a": "\udc80"},
        "size_bytes": -5,
        "sha256": None,
        "more": "x" * 999,
    }
    assert await keep_manifest(store, held, 1, {"outputs": [hostile] * (MOST_TOLD + 1)}) == []
    told = await kept(store, held)
    assert all(isinstance(told[0][key], str) for key in ("path", "url", "sha256"))
    assert told[0]["size_bytes"] == 0 and "more" not in told[0]


async def test_it_is_there_when_the_task_has_ended(tmp_path: Path) -> None:
    files = [output(number) for number in range(MOST_TOLD + 1)]
    async with running(tmp_path) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        worker.run_executor()
        worker.finish(outputs=files)
        task = await sites.ended(task_id)
        part = await sites.store.read_log(task_id, 1, 0, "files", offset=0, limit=2**30)
    assert task.logs[0]["metadata"]["outputs_left_out"] == "1"
    assert [json.loads(line)["url"] for line in part.data.splitlines()] == [file["url"] for file in files]
