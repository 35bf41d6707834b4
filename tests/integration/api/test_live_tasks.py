"""A task's stream: what happens to it, as it happens, from any place on."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tesp_api.api.application import build_api
from tesp_api.app import build_store
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tesp_api.store.base import Changes, Claim, Job, TaskStore
from tesp_api.tes.states import State
from tests.integration.api.life import AT, EVENTS, TRANSFER, create, finish, lines_of, start
from tests.integration.api.streaming import Event, all_of, reading, served

TWO: dict[str, Any] = {"executors": [{"image": "alpine", "command": ["true"]}] * 2}


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with served(app) as opened:
        yield opened


def path(task_id: str, query: str = "") -> str:
    return f"/tesp/v1/tasks/{task_id}/events{query}"


def event(seq: int, name: str, **more: Any) -> bytes:
    return json.dumps({"seq": seq, "at": AT, "event": name, **more}).encode() + b"\n"


def text_of(events: list[Event], executor: int = 0, stream: str = "stdout") -> str:
    logs = [one.data for one in events if one.name == "log"]
    return "".join(one["text"] for one in logs if one["executor"] == executor and one["stream"] == stream)


async def test_what_happens_is_told_as_it_happens(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    async with reading(client, path(task_id)) as reader:
        [queued] = await reader.until("state")
        assert queued.data | {"at": ""} == {"at": "", "state": "QUEUED", "attempt": 0, "reason": "created"}
        held = await start(store, task_id)
        await reader.until("state", state="RUNNING", attempt=1)
        await store.append_log(held, 1, 0, "events", 0, event(0, "initializing"))
        [told] = await reader.until("worker")
        assert told.data == {"attempt": 1, "seq": 0, "time": AT, "event": "initializing"}
        await store.append_log(held, 1, 0, "stdout", 0, b"one\n")
        [log] = await reader.until("log")
        where = {"attempt": 1, "executor": 0, "stream": "stdout"}
        assert log.data == where | {"offset": 0, "length": 4, "text": "one\n"}
        await finish(store, held, b"one\ntwo", b"err")
        last = await reader.rest()
    assert text_of(last) == "two" and text_of(last, stream="stderr") == "err"
    assert [one.data["state"] for one in last if one.name == "state"] == ["COMPLETE"]
    assert (last[-1].name, last[-1].data) == ("end", {"state": "COMPLETE"})


async def ended_task(client: httpx.AsyncClient, store: TaskStore) -> str:
    """With everything: two attempts, two executors, a gateway, dropped bytes."""
    task_id = await create(client, **TWO)
    held = await start(store, task_id)
    gateway = [{"seq": n, "at": AT, "event": "transfer", **TRANSFER, "ended": True} for n in range(2)]
    gateway.append(gateway[0] | {"direction": "output"})
    await store.append_log(held, 1, 0, "gateway", 0, lines_of(gateway))
    await store.append_log(held, 1, 0, "events", 0, lines_of(EVENTS))
    await store.append_log(held, 1, 0, "stdout", 0, b"first attempt")
    again = Changes(attempt=2, job=Job("local", "second"))
    await store.transition(task_id, State.QUEUED, claim=held, reason="another attempt")
    for state in (State.INITIALIZING, State.RUNNING):
        await store.transition(task_id, state, claim=held, reason="", changes=again)
        again = Changes()
    await store.append_log(held, 2, 0, "events", 0, lines_of(EVENTS[:4]))
    for number in range(6):
        await store.append_log(held, 2, 0, "stdout", 10 * number, b"%010d" % number)
    await store.drop_log(held, 2, 0, "stdout", 20, 40)
    await store.append_log(held, 2, 1, "stderr", 0, "žluťoučký".encode())
    await store.transition(task_id, State.COMPLETE, claim=held, reason="")
    return task_id


async def test_a_stream_can_be_taken_up_at_every_event(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await ended_task(client, store)
    whole = await all_of(client, path(task_id), Last_Event_ID="1.0.0.0.0.0.0.0")
    assert [one.data["state"] for one in whole if one.name == "state"] == [
        *("QUEUED", "INITIALIZING", "RUNNING", "QUEUED", "INITIALIZING", "RUNNING", "COMPLETE")
    ]
    worker = [one.data for one in whole if one.name == "worker"]
    assert [(one["attempt"], one["seq"]) for one in worker] == [
        *((1, number) for number in range(len(EVENTS) + 3)),
        *((2, number) for number in range(4)),
    ]
    transfers = [one["seq"] for one in worker if one["event"] == "transfer" and one["direction"] == "output"]
    assert transfers == [len(EVENTS) + 2]
    logs = [one.data for one in whole if one.name == "log"]
    assert [(one["attempt"], one["executor"], one["offset"], one.get("dropped_bytes")) for one in logs] == [
        (1, 0, 0, None),
        (2, 0, 0, None),
        (2, 0, 40, 20),
        (2, 1, 0, None),
    ]
    assert logs[-1]["text"] == "žluťoučký"
    assert len({one.place for one in whole[:-1]}) == len(whole) - 1
    for number, one in enumerate(whole[:-1]):
        assert await all_of(client, path(task_id), Last_Event_ID=one.place) == whole[number + 1 :]
    query = f"?last_event_id={whole[5].place}"
    assert await all_of(client, path(task_id, query)) == whole[6:]


async def test_a_new_reader_gets_the_whole_history_and_the_last_attempt(
    client: httpx.AsyncClient, store: TaskStore
) -> None:
    task_id = await ended_task(client, store)
    events = await all_of(client, path(task_id))
    assert len([one for one in events if one.name == "state"]) == 7
    assert {one.data["attempt"] for one in events if one.name in ("worker", "log")} == {2}
    without = await all_of(client, path(task_id, "?logs=false"))
    assert without[:-1] == [one for one in events if one.name in ("state", "worker")]
    assert without[-1].name == "end"


async def test_a_stream_goes_on_at_a_server_that_has_just_started(
    client: httpx.AsyncClient, store: TaskStore, settings: Settings
) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "stdout", 0, b"before ")
    async with reading(client, path(task_id)) as reader:
        place = (await reader.until("log"))[-1].place
    if settings.store.kind == "sqlite":
        await store.aclose()
    another = build_store(settings)
    await another.open()
    try:
        if settings.store.kind == "sqlite":  # its claims are void after a start
            (held,) = [one.claim for one in await another.claim("x", lease_s=60, new_limit=9) if one.claim]
        async with (
            served(build_api(another, Bell(), settings, {})) as other,
            reading(other, path(task_id), Last_Event_ID=place) as reader,
        ):
            writer = another if settings.store.kind == "sqlite" else store
            await writer.append_log(held, 1, 0, "stdout", 0, b"before after")
            [log] = await reader.until("log")
            assert (log.data["text"], log.data["offset"]) == ("after", 7)
            await finish(writer, held, b"before after all")
            assert text_of(await reader.rest()) == " all"
    finally:
        await another.aclose()
        if settings.store.kind == "sqlite":
            await store.open()


async def test_executors_logs_come_one_after_the_other(client: httpx.AsyncClient, store: TaskStore) -> None:
    """Also where the last of the first one's is stored late."""
    task_id = await create(client, **TWO)
    held = await start(store, task_id)
    sizes = {"exit_code": 0, "started_at": AT, "ended_at": AT, "stdout_bytes": 10, "stderr_bytes": 0}
    lines = event(0, "executor_started", executor=0) + event(1, "executor_ended", executor=0, **sizes)
    await store.append_log(held, 1, 0, "stdout", 0, b"first")
    await store.append_log(held, 1, 1, "stdout", 0, b"second")
    await store.append_log(held, 1, 0, "events", 0, lines + event(2, "executor_started", executor=1))
    async with reading(client, path(task_id)) as reader:
        events = await reader.until("log")
        assert events[-1].data["text"] == "first"
        place = events[-1].place
    async with reading(client, path(task_id), Last_Event_ID=place) as reader:
        await store.append_log(held, 1, 0, "stdout", 0, b"first late")
        late, second = [one.data for one in await reader.until("log", executor=1)]
        assert (late["text"], second["text"]) == (" late", "second")
        await store.transition(task_id, State.COMPLETE, claim=held, reason="")
        assert [one.name for one in await reader.rest()] == ["state", "end"]


async def test_characters_are_not_cut_and_bytes_are_exact(
    client: httpx.AsyncClient, store: TaskStore
) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    data = "a🐎".encode() + b"\xff"
    await store.append_log(held, 1, 0, "stdout", 0, data[:3])
    async with (
        reading(client, path(task_id)) as reader,
        reading(client, path(task_id, "?logs=base64")) as exact,
    ):
        assert (await reader.until("log"))[-1].data["text"] == "a"
        assert base64.b64decode((await exact.until("log"))[-1].data["base64"]) == data[:3]
        await finish(store, held, data)
        assert text_of(await reader.rest()) == "🐎\ufffd"
        rest = [one.data for one in await exact.rest() if one.name == "log"]
        assert b"".join(base64.b64decode(one["base64"]) for one in rest) == data[3:]


async def test_a_long_log_comes_in_parts(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    data = bytes(range(32, 127)) * 5000
    await finish(store, held, data)
    events = await all_of(client, path(task_id))
    assert text_of(events) == data.decode()
    assert max(one.data["length"] for one in events if one.name == "log") <= 64 * 1024


async def test_a_thousandth_follower_reads_nothing_more(
    client: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    reads = 0
    read_log = type(store).read_log

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read_log(*given, **named)

    monkeypatch.setattr(type(store), "read_log", counted)

    async def follow() -> str:
        return text_of(await all_of(client, path(task_id)))

    following = [asyncio.create_task(follow()) for _ in range(60)]
    await asyncio.sleep(1)
    before = reads
    for number in range(1, 4):
        await store.append_log(held, 1, 0, "stdout", 0, b"x" * number)
        await asyncio.sleep(0.2)
    await finish(store, held, b"x" * 4)
    assert await asyncio.gather(*following) == ["xxxx"] * 60
    assert reads - before < 120  # each look reads four logs


@pytest.mark.parametrize(
    ("query", "last"),
    [("?logs=yes", ""), ("", "1"), ("", "1.2.3.4.5.6.7.x"), ("", "1.2.3.4.5.6.7.-8"), ("", "9" * 500)],
)
async def test_wrong_questions_are_refused(client: httpx.AsyncClient, query: str, last: str) -> None:
    task_id = await create(client)
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    answer = await client.get(path(task_id, query), headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["faults"][0]["field"] in ("logs", "Last-Event-ID")


async def test_a_place_that_is_not_there_yet_harms_nobody(
    client: httpx.AsyncClient, store: TaskStore
) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "events", 0, event(0, "initializing"))
    await finish(store, held, b"x")
    for place in ("7.0.0.0.0.0.0.0", "1.99.99.0.0.99.99.99"):
        events = await all_of(client, path(task_id), Last_Event_ID=place)
        assert events[-1].name == "end"
    for place in ("1.0.0.0.3.0.0.0", "1.0.0.5.0.0.0.0", "1.0.0.0.9999.0.0.0"):  # in the middle of a line
        headers = {"Accept": "text/event-stream", "Last-Event-ID": place}
        assert (await client.get(path(task_id), headers=headers)).status_code == 400


async def test_without_the_header_the_events_are_json(client: httpx.AsyncClient) -> None:
    task_id = await create(client)
    answer = await client.get(path(task_id))
    assert answer.json() == {"events": [], "attempt": 0, "live": True}


async def test_a_head_has_no_end_to_wait_for(client: httpx.AsyncClient) -> None:
    task_id = await create(client)
    for one in (path(task_id), "/tesp/v1/events", f"/tesp/v1/tasks/{task_id}/logs/0/stdout?follow=true"):
        answer = await client.head(one, headers={"Accept": "text/event-stream"})
        assert (answer.status_code, answer.content) == (200, b"")


async def raw(client: httpx.AsyncClient, task_id: str, query: str) -> bytes:
    return (await client.get(f"/tesp/v1/tasks/{task_id}/logs/0/stdout{query}")).content


async def test_a_log_is_followed_as_raw_bytes(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    await store.append_log(held, 1, 0, "stdout", 0, b"one\xff")
    target = f"/tesp/v1/tasks/{task_id}/logs/0/stdout?follow=true"
    async with client.stream("GET", target) as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"one\xff"
        await store.append_log(held, 1, 0, "stdout", 0, b"one\xfftwo")
        assert await anext(pieces) == b"two"
        await finish(store, held, b"one\xfftwo!")
        assert b"".join([piece async for piece in pieces]) == b"!"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert await raw(client, task_id, "?follow=true&offset=4") == b"two!"
    assert await raw(client, task_id, "?follow=true&offset=-2") == b"o!"
    assert await raw(client, task_id, "?follow=true&attempt=1&offset=99") == b""


RANGES = {
    "bytes=0-": (206, b"0123456789", "bytes 0-9/10"),
    "bytes=2-4": (206, b"234", "bytes 2-4/10"),
    "bytes=8-99": (206, b"89", "bytes 8-9/10"),
    "bytes=-3": (206, b"789", "bytes 7-9/10"),
    "bytes=-99": (206, b"0123456789", "bytes 0-9/10"),
    "bytes=9-9": (206, b"9", "bytes 9-9/10"),
    "bytes=10-": (416, None, "bytes */10"),
    "bytes=4-2": (200, b"0123456789", None),
    "bytes=0-1,3-4": (200, b"0123456789", None),
    "lines=0-1": (200, b"0123456789", None),
}


@pytest.mark.parametrize("asked", RANGES)
async def test_ranges_of_a_log(client: httpx.AsyncClient, store: TaskStore, asked: str) -> None:
    status, data, told = RANGES[asked]
    task_id = await create(client)
    await finish(store, await start(store, task_id), b"0123456789")
    answer = await client.get(f"/tesp/v1/tasks/{task_id}/logs/0/stdout", headers={"Range": asked})
    assert (answer.status_code, answer.headers.get("content-range")) == (status, told)
    assert data is None or answer.content == data
    assert answer.headers["accept-ranges"] == "bytes" or status == 416


async def test_what_was_dropped_of_a_log_is_told(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await ended_task(client, store)
    target = f"/tesp/v1/tasks/{task_id}/logs/0/stdout"
    answer = await client.get(target, params={"offset": 25})
    assert answer.headers["x-tesp-log-dropped"] == "15"
    assert answer.content == b"00000000040000000005"
    assert (await client.get(target)).headers["x-tesp-log-dropped"] == "0"
    part = await client.get(target, headers={"Range": "bytes=25-44"})
    assert (part.status_code, part.headers["content-range"]) == (206, "bytes 40-59/60")


async def claim_of(store: TaskStore, task_id: str) -> Claim:
    claim = (await store.get(task_id)).claim
    assert claim is not None
    return claim


async def test_one_can_wait_for_a_change(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client, name="n")
    target = f"/tesp/v1/tasks/{task_id}"
    row = (await client.get(target)).json()
    assert (row["id"], row["state"], row["attempt"], row["name"]) == (task_id, "QUEUED", 0, "n")
    waiting = asyncio.create_task(client.get(f"{target}?wait=60"))
    until_running = asyncio.create_task(client.get(f"{target}?wait=60&state_not=QUEUED"))
    await asyncio.sleep(0.3)
    held = await start(store, task_id)
    assert (await waiting).json()["attempt"] == 1
    assert (await until_running).json()["state"] in ("INITIALIZING", "RUNNING")
    late = await client.get(f"{target}?wait=60&state_not=QUEUED")
    assert late.json()["state"] == "RUNNING"
    assert (await client.get(f"{target}?wait=1&state_not=RUNNING")).json()["state"] == "RUNNING"
    waiting = asyncio.create_task(client.get(f"{target}?wait=60&state_not=RUNNING"))
    await finish(store, held, b"")
    assert (await waiting).json()["state"] == "COMPLETE"
    assert (await client.get(f"{target}?wait=60&state_not=COMPLETE")).json()["state"] == "COMPLETE"
    assert (await client.get(f"{target}?wait=61")).status_code == 400
    assert (await client.get(f"{target}?wait=1&state_not=SLEEPING")).status_code == 400
    assert (await client.get("/tesp/v1/tasks/none?wait=1")).status_code == 404
