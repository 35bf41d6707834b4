"""Followers who are up to date are told together; who does not keep up goes on alone, and misses nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tesp_api.api.live import streams
from tesp_api.api.live.crowd import direct_write, put_send
from tesp_api.api.live.frames import Step
from tesp_api.api.live.hub import Topic
from tesp_api.store.base import TaskStore
from tests.integration.api.life import create, finish, start
from tests.integration.api.streaming import WAIT_S, reading, served

FOLLOWERS = 20


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with served(app) as opened:
        yield opened


async def test_who_is_up_to_date_is_told_and_not_woken(
    client: httpx.AsyncClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 3600.0)
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 3600.0)
    looks = 0
    real = streams.Reader.has_to_leave

    async def counted(reader: streams.Reader) -> bool:
        nonlocal looks
        looks += 1
        return await real(reader)

    monkeypatch.setattr(streams.Reader, "has_to_leave", counted)
    task_id = await create(client)
    held = await start(store, task_id)
    async with AsyncExitStack() as stack:
        path = f"/tesp/v1/tasks/{task_id}/events"
        followers = [await stack.enter_async_context(reading(client, path)) for _ in range(FOLLOWERS)]
        await store.append_log(held, 1, 0, "stdout", 0, b"0")
        for one in followers:
            await one.until("log", offset=0)
        before = looks
        for number in range(1, 6):
            await store.append_log(held, 1, 0, "stdout", number, b"%d" % number)
            events = [await one.until("log", offset=number) for one in followers]
            assert len({event.place for seen in events for event in seen}) == 1
        # Some may have come to their place only after the first piece.
        assert looks - before < FOLLOWERS
        await finish(store, held, b"012345")
        assert {(await one.rest())[-1].name for one in followers} == {"end"}


async def test_who_does_not_keep_up_misses_nothing(client: httpx.AsyncClient, store: TaskStore) -> None:
    task_id = await create(client)
    held = await start(store, task_id)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(slow, (client.base_url.host, client.base_url.port))
    request = f"GET /tesp/v1/tasks/{task_id}/logs/0/stdout?follow=true HTTP/1.1\r\nHost: tesp\r\n\r\n"
    await loop.sock_sendall(slow, request.encode())
    chunk, written = b"x" * 65_535 + b"\n", 0
    async with reading(client, f"/tesp/v1/tasks/{task_id}/events") as quick:
        for _ in range(100):
            await store.append_log(held, 1, 0, "stdout", written, chunk)
            written += len(chunk)
        await finish(store, held, chunk * 100)
        told = [event.data for event in await quick.rest() if event.name == "log"]
    assert sum(one["length"] for one in told) == written
    data = b""
    async with asyncio.timeout(WAIT_S):
        while not data.endswith(b"0\r\n\r\n"):
            part = await loop.sock_recv(slow, 1 << 20)
            assert part, f"the stream broke off after {len(data)} bytes"
            data += part
    slow.close()
    assert data.partition(b"\r\n\r\n")[2].count(b"x") == 100 * 65_535


def test_only_uvicorn_is_written_to_directly() -> None:
    async def send(_: Any) -> None:
        """Of another server."""

    scope: dict[str, Any] = {"type": "http", "method": "GET"}
    assert direct_write(scope) is None
    put_send(scope, send)
    assert direct_write(scope) is None


async def test_who_cannot_be_written_to_goes_on_from_where_they_stand() -> None:
    topic = Topic(None, lambda: False)
    written: list[bytes] = []
    twice = asyncio.Event()

    async def after(place: int) -> Step[int]:
        return Step(b"%d" % place, place + 1)

    def write(data: bytes) -> bool:
        written.append(data)
        if len(written) == 2:
            twice.set()
        return True

    def stand(how: Any) -> "asyncio.Task[int]":
        return asyncio.ensure_future(topic.stand(0, ("x", after), 7, how, lambda: None, lambda: 5.0))

    quick, stuck = stand(write), stand(lambda _: False)
    await asyncio.sleep(0)
    topic.wake()
    assert await asyncio.wait_for(stuck, WAIT_S) == 7
    topic.wake()
    await asyncio.wait_for(twice.wait(), WAIT_S)
    assert written == [b"7", b"8"]
    assert not quick.done()
    quick.cancel()
