"""Logs while they are written, and histories."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tesp_api.api.application import build_api
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import Changes, Job, TaskStore
from tesp_api.tes.states import State
from tests.factories import make_request
from tests.integration.api.life import AT, EVENTS, TES, TRANSFER, V1, connect, create, finish, lines_of, start


async def read(client: httpx.AsyncClient, task_id: str, rest: str = "0/stdout") -> httpx.Response:
    return await client.get(f"/tesp/v1/tasks/{task_id}/logs/{rest}")


def place(answer: httpx.Response) -> tuple[int, int, bool]:
    headers = answer.headers
    return (
        int(headers["x-tesp-log-offset"]),
        int(headers["x-tesp-log-total"]),
        headers["x-tesp-log-live"] == "true",
    )


async def test_a_log_is_read_while_it_is_written(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    waiting = await read(client, task_id)
    assert (waiting.status_code, waiting.content, place(waiting)) == (200, b"", (0, 0, True))
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "stdout", 0, b"one\n\xff")
    running = await read(client, task_id)
    assert (running.content, place(running)) == (b"one\n\xff", (0, 5, True))
    assert running.headers["content-type"] == "text/plain; charset=utf-8"
    assert running.headers["x-content-type-options"] == "nosniff"
    assert (await read(client, task_id, "0/stdout?offset=5")).content == b""
    await finish(store, held, b"one\n\xfftwo")
    ended = await read(client, task_id, "0/stdout?offset=5")
    assert (ended.content, place(ended)) == (b"two", (5, 8, False))


@pytest.mark.parametrize(
    ("query", "data", "offset"),
    [
        ("", b"0123456789", 0),
        ("?offset=3&limit=4", b"3456", 3),
        ("?offset=-4", b"6789", 6),
        ("?offset=-4&limit=2", b"67", 6),
        ("?offset=-99", b"0123456789", 0),
        ("?offset=10", b"", 10),
        ("?attempt=1&offset=9", b"9", 9),
    ],
)
async def test_parts_of_a_log(
    client: httpx.AsyncClient, store: TaskStore, query: str, data: bytes, offset: int
) -> None:
    task_id = await create(client)
    await finish(store, await start(store, task_id), b"0123456789")
    answer = await read(client, task_id, f"0/stdout{query}")
    assert (answer.content, place(answer)) == (data, (offset, 10, False))


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("1/stdout", 404),
        ("-1/stdout", 404),
        ("x/stdout", 404),
        ("9999999999999999999999/stdout", 404),
        ("0/stdin", 404),
        ("0/stdout?attempt=2", 404),
        ("0/stdout?attempt=0", 400),
        ("0/stdout?attempt=x", 400),
        ("0/stdout?offset=x", 400),
        ("0/stdout?offset=99999999999999999999", 400),
        ("0/stdout?limit=0", 400),
        ("0/stdout?limit=99999999999", 400),
        ("0/stdout?offset=11", 416),
    ],
)
async def test_what_is_not_there_is_said(
    client: httpx.AsyncClient, store: TaskStore, rest: str, status: int
) -> None:
    task_id = await create(client)
    await finish(store, await start(store, task_id), b"0123456789")
    answer = await read(client, task_id, rest)
    assert answer.status_code == status
    assert answer.json()["status_code"] == status


async def test_the_history_tells_every_state_with_its_reason(
    client: httpx.AsyncClient, store: TaskStore
) -> None:
    task_id = await create(client)
    await finish(store, await start(store, task_id), b"")
    answer = await client.get(f"/tesp/v1/tasks/{task_id}/history")
    entries: list[dict[str, Any]] = answer.json()["history"]
    assert [entry["state"] for entry in entries] == ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]
    assert all(entry.keys() == {"time", "state", "attempt", "reason"} for entry in entries)
    assert entries[-1]["attempt"] == 1
    assert entries[-1]["reason"] == "the worker ended"


async def test_what_a_task_waits_for_that_no_server_has_taken(store: TaskStore) -> None:
    def says(document: Mapping[str, Any], owner: str, has_logins: bool) -> str:
        return f"all is taken ({document['name']}, {owner!r}, {has_logins})"

    async with connect(build_api(store, Bell(), Settings(), {}, waits_for=says)) as client:
        made = await client.post(f"{TES}/tasks", json=make_request(name="mine"))
        history = f"/tesp/v1/tasks/{made.json()['id']}/history"
        assert (await client.get(history)).json()["waits_for"] == "all is taken (mine, 'anybody', False)"
        claim = await start(store, made.json()["id"])
        assert "waits_for" not in (await client.get(history)).json()
        await finish(store, claim, b"")
        assert "waits_for" not in (await client.get(history)).json()


async def test_events_are_read_while_they_come(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    address = f"/tesp/v1/tasks/{task_id}/events"
    assert (await client.get(address)).json() == {"events": [], "attempt": 0, "live": True}
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "events", 0, lines_of(EVENTS[:2]))
    assert (await client.get(address)).json() == {
        "events": [
            {"seq": 0, "time": AT, "event": "initializing"},
            {"seq": 1, "time": AT, "event": "transfer", **TRANSFER, "ended": False},
        ],
        "attempt": 1,
        "live": True,
    }
    assert (await client.get(f"{address}?after=1")).json() == {"events": [], "attempt": 1, "live": True}
    await store.append_log(held, 1, 0, "events", len(lines_of(EVENTS[:2])), lines_of(EVENTS[2:]))
    await finish(store, held, b"")
    for after in (-1, 1, 5, 6, 1000):
        answer = (await client.get(f"{address}?after={after}&attempt=1")).json()
        assert [event["seq"] for event in answer["events"]] == list(range(after + 1, len(EVENTS)))
        assert answer["live"] is False


async def test_a_gateway_tells_of_its_transfers_before_and_after_the_worker(
    client: httpx.AsyncClient, store: TaskStore
) -> None:
    task_id = await create(client)
    address = f"/tesp/v1/tasks/{task_id}/events"
    held = await start(store, task_id)
    came = lines_of([{"at": AT, "event": "transfer", **TRANSFER, "done_bytes": n} for n in (1, 2)])
    went = lines_of([{"at": AT, "event": "transfer", **TRANSFER, "direction": "output"}])
    seen: list[dict[str, Any]] = []
    for stream, data in (("gateway", came), ("events", lines_of(EVENTS)), ("gateway", went)):
        offset = await store.log_size(task_id, 1, 0, stream)  # type: ignore[arg-type]
        await store.append_log(held, 1, 0, stream, offset, data)  # type: ignore[arg-type]
        answer = (await client.get(f"{address}?after={len(seen) - 1}")).json()
        seen += answer["events"]
    assert seen == (await client.get(address)).json()["events"]
    assert [event["seq"] for event in seen] == list(range(len(EVENTS) + 3))
    assert [event["event"] for event in seen[2:-1]] == [event["event"] for event in EVENTS]
    assert (seen[1]["done_bytes"], seen[-1]["direction"]) == (2, "output")


async def test_the_events_of_each_attempt_are_its_own(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    address = f"/tesp/v1/tasks/{task_id}/events"
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "events", 0, lines_of(EVENTS[:1]))
    await store.update(task_id, Changes(attempt=2, job=Job("local", f"{task_id}-2")), claim=held)
    assert (await client.get(address)).json() == {"events": [], "attempt": 2, "live": True}
    first = (await client.get(f"{address}?attempt=1")).json()
    assert (len(first["events"]), first["attempt"], first["live"]) == (1, 1, False)


@pytest.mark.parametrize(
    ("query", "status"), [("attempt=2", 404), ("attempt=0", 400), ("after=-2", 400), ("after=x", 400)]
)
async def test_events_that_cannot_be_are_refused(
    client: httpx.AsyncClient, store: TaskStore, query: str, status: int
) -> None:
    task_id = await create(client)
    await start(store, task_id)
    answer = await client.get(f"/tesp/v1/tasks/{task_id}/events?{query}")
    assert answer.json()["status_code"] == answer.status_code == status


async def test_few_files_are_told_by_the_metadata(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    address = f"/tesp/v1/tasks/{task_id}/files"
    assert (await client.get(address)).json() == {"files": [], "live": True}
    held = await start(store, task_id)
    came, went = ({"path": path, "size_bytes": 3, "sha256": "ab"} for path in ("/in", "/out"))
    metadata = {"inputs": json.dumps([came]), "outputs": json.dumps([went])}
    await store.transition(
        task_id, State.COMPLETE, claim=held, reason="", changes=Changes(log={"metadata": metadata})
    )
    assert (await client.get(f"{address}?attempt=1")).json() == {
        "files": [{"direction": "input", **came}, {"direction": "output", **went}],
        "live": False,
    }


async def test_many_files_come_in_pages(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    address = f"/tesp/v1/tasks/{task_id}/files"
    held = await start(store, task_id)
    files = [{"direction": "output", "path": f"/out/{n}", "size_bytes": n} for n in range(12_000)]
    lines = lines_of(files)
    await store.append_log(held, 1, 0, "files", 0, lines[:300_000])
    assert (await client.get(address)).json()["live"]
    await store.append_log(held, 1, 0, "files", 300_000, lines[300_000:])
    await finish(store, held, b"")
    pages = [(await client.get(address)).json()]
    while token := pages[-1].get("next_page_token"):
        pages.append((await client.get(f"{address}?page_token={token}")).json())
    assert len(pages) == 3
    assert [file for page in pages for file in page["files"]] == files
    token = int(pages[0]["next_page_token"])
    for wrong in (token + 1, token - 1, len(lines), len(lines) + 9, -1, "x"):
        assert (await client.get(f"{address}?page_token={wrong}")).status_code == 400
    assert (await client.get(f"{address}?attempt=2")).status_code == 404


async def test_only_what_is_over_can_be_deleted(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client, name="gone soon", tags={"k": "v"})
    address = f"/tesp/v1/tasks/{task_id}"
    assert (await client.delete(address)).status_code == 409
    held = await start(store, task_id)
    assert (await client.delete(address)).status_code == 409
    await finish(store, held, b"out")
    cleaning_up = await client.delete(address)
    assert cleaning_up.status_code == cleaning_up.json()["status_code"] == 409
    assert task_id in cleaning_up.json()["msg"]
    await store.retire(held)
    assert (await client.delete(address)).content == b""
    for path in (
        f"{TES}/tasks/{task_id}",
        *(f"{address}/{rest}" for rest in ("history", "events", "files", "logs/0/stdout")),
    ):
        assert (await client.get(path)).status_code == 404
    for filters in ("", "name_prefix=gone", "tag_key=k&tag_value=v", "state=COMPLETE"):
        assert (await client.get(f"{TES}/tasks?{filters}")).json() == {"tasks": []}


@pytest.mark.parametrize("prefix", [TES, V1])
async def test_the_paths_of_the_standard_have_none_of_it(client: httpx.AsyncClient, prefix: str) -> None:
    task_id = await create(client, prefix)
    assert (await client.delete(f"{prefix}/tasks/{task_id}")).status_code == 405
    assert (await client.post(f"{prefix}/tasks:bulk", json={"tasks": []})).status_code == 404
    assert (await client.get(f"{prefix}/tasks/{task_id}/history")).status_code == 404


async def test_the_extensions_are_advertised(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for standard, of_runs, count in ((TES, False, 17), ("/ga4gh/wes/v1", True, 7)):
        described = (await client.get(f"{standard}/service-info")).json()["description"]
        ours = [
            f"{method.upper()} {path}"
            for path, methods in paths.items()
            for method in methods
            if path.startswith("/tesp") and path.startswith("/tesp/v1/runs") is of_runs
        ]
        assert len(ours) == count
        assert [one for one in ours if one not in described] == []
        assert "Idempotency-Key" in described


@pytest.mark.parametrize("path", ["logs/0/stdout", "history", "events", "files"])
async def test_an_unknown_task_is_404(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/tesp/v1/tasks/nobody/{path}")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["msg"]
