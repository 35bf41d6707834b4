"""The API on a socket, in the loop of the test, and readers of what it streams."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from tesp_api.cli.http_protocol import LimitedHttpProtocol

WAIT_S = 20.0
SSE = {"Accept": "text/event-stream"}


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, whose store is open."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=LimitedHttpProtocol, lifespan="off", log_level="critical")
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, limits=limits) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: dict[str, Any]
    place: str = ""


@dataclass
class Reader:
    """Reads one stream."""

    response: httpx.Response
    comments: int = 0
    _lines: Any = None
    _seen: list[Event] = field(default_factory=list)

    async def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        self._lines = self._lines or self.response.aiter_lines()
        fields: dict[str, str] = {}
        async with asyncio.timeout(WAIT_S):
            async for line in self._lines:
                if not line and "event" in fields:
                    data = json.loads(fields["data"])
                    return Event(fields["event"], data, fields.get("id", ""))
                name, _, value = line.partition(":")
                if line == ":":
                    self.comments += 1
                elif line:
                    fields[name] = value.removeprefix(" ")
        return None

    async def until(self, name: str, **fields: Any) -> list[Event]:
        """All events up to one of this name that has these fields."""
        found: list[Event] = []
        while True:
            event = await self.next()
            assert event is not None, f"the stream ended before {name} {fields}: {found}"
            found.append(event)
            if event.name == name and fields.items() <= event.data.items():
                return found

    async def rest(self) -> list[Event]:
        """All events until the stream ends."""
        found: list[Event] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def reading(client: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[Reader]:
    """A stream of events."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", path, headers=SSE | told) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Reader(response)


async def all_of(client: httpx.AsyncClient, path: str, **headers: str) -> list[Event]:
    """The events of a stream that ends."""
    async with reading(client, path, **headers) as reader:
        return await reader.rest()
