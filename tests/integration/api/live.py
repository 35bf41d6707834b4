"""The API, or the worker channel, on a real socket, in a thread, over a store of its own."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.client import HTTPResponse
from urllib.parse import urlsplit

import uvicorn

from tesp_api.api.application import build_api
from tesp_api.app import build_accounts, build_authenticators, build_outbox, build_store
from tesp_api.bell import Bell
from tesp_api.cli.http_protocol import LimitedHttpProtocol
from tesp_api.settings import Settings
from tesp_api.store.accounts import Accounts
from tesp_api.webhooks.deliveries import Deliveries
from tests.fakes.workshop import workflows_over

_TIMEOUT_S = 30


@contextmanager
def live_api(
    settings: Settings, prepare: Callable[[Accounts], Awaitable[None]] | None = None
) -> Iterator[str]:
    """The address of a server that lives as long as the context; `prepare` makes its users."""
    store, accounts = build_store(settings), build_accounts(settings)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        await store.open()
        if settings.auth.has_accounts:
            await accounts.open()
            if prepare is not None:
                await prepare(accounts)
        yield
        await accounts.aclose()
        await store.aclose()

    app = build_api(
        store,
        Bell(),
        settings,
        {},
        authenticators=build_authenticators(settings, accounts),
        next_destination=lambda *_: "local",
        workflows=workflows_over(store, settings),
        webhooks=Deliveries(build_outbox(settings, store), store.notices, settings),
        lifespan=lifespan,
    )
    config = uvicorn.Config(app, http=LimitedHttpProtocol, host="127.0.0.1", port=0, log_level="critical")
    with serving(config) as address:
        yield address


@contextmanager
def serving(config: uvicorn.Config) -> Iterator[str]:
    """The address of what uvicorn serves as long as the context lives."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + _TIMEOUT_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(_TIMEOUT_S)


def send_raw(url: str, request: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; returns the status and the body of the answer."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(request)
        answer = HTTPResponse(connection, method=request.partition(b" ")[0].decode())
        answer.begin()
        return answer.status, answer.read()
