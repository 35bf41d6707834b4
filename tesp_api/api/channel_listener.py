"""Where the worker channel listens: a socket in the data folder, a port, or both."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tesp_api.errors import SettingsError
from tesp_api.settings import ChannelSettings, Settings

SOCKET_NAME = "channel.sock"

REQUEST_S = 300.0
"""The longest that a request takes to come, or a connection lies idle; `_KEEP_ALIVE_S` is shorter."""

_KEEP_ALIVE_S = 60
_GRACE_S = 1
_BACKLOG = 2048


class ChannelListener:
    """Serves the channel's application. `open` and `aclose` belong to the same event loop.

    Workers of an embedded Pulsar reach it by a socket file, which is the server's own user's alone.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._folder = settings.data_dir if settings.has_embedded_pulsar else None
        self._channel = settings.channel
        self._running: list[_Running] = []

    async def open(self) -> None:
        """Listen from now on. The data folder must be held by this process: a socket there is replaced.

        Raises:
            SettingsError: the port or the certificate cannot be used.
        """
        try:
            if self._folder is not None:
                await self._serve(QuietConfig(self._app), listen_in(self._folder))
            if self._channel.port is not None:
                config = QuietConfig(self._app, **tls_options(self._channel))
                load_tls(config, self._channel)
                await self._serve(config, listen_at(self._channel))
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Finish what is being answered, in about a second at most."""
        await asyncio.gather(*(running.stop() for running in self._running))
        if self._running and self._folder is not None:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / SOCKET_NAME).unlink()
        self._running.clear()

    async def _serve(self, config: uvicorn.Config, listener: socket.socket) -> None:
        running = _Running(config, listener)
        await running.start()
        self._running.append(running)


class _Running:
    """A uvicorn server beside the one of the API, to which signals are left: only its parts are used."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        config = self._server.config
        if not config.loaded:
            config.load()
        self._server.lifespan = config.lifespan_class(config)
        try:
            await self._server.startup(sockets=[self._listener])
        except BaseException:
            self._listener.close()
            raise
        self._loop = asyncio.create_task(self._server.main_loop(), name="worker channel")

    async def stop(self) -> None:
        """Accept no more, and end the connections."""
        self._server.should_exit = True
        if self._loop is not None:
            await self._loop
            await self._server.shutdown(sockets=[self._listener])


def listen_in(folder: Path) -> socket.socket:
    """A socket in a folder, for its owner alone, in the place of one that a killed server left behind.

    The folder's path may be longer than the 107 bytes of a socket's address: it is named by an open
    descriptor. The file gets its name when it can be connected to.
    """
    here = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = f"{SOCKET_NAME}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=here)
        os.fchmod(listener.fileno(), 0o600)  # the file is made with the socket's own mode
        listener.bind(f"/proc/self/fd/{here}/{temporary}")
        listener.listen(_BACKLOG)
        os.rename(temporary, SOCKET_NAME, src_dir_fd=here, dst_dir_fd=here)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(here)
    return listener


def listen_at(channel: ChannelSettings) -> socket.socket:
    """A socket at the channel's host and port.

    Raises:
        SettingsError: it is in use, or is not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            channel.host, channel.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _cannot_listen(channel, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(channel, error) from None
    return listener


def tls_options(channel: ChannelSettings) -> dict[str, Any]:
    """What uvicorn is told of the certificate; nothing without one."""
    if channel.certificate is None:
        return {}
    return {"ssl_certfile": channel.certificate, "ssl_keyfile": channel.private_key}


def load_tls(config: uvicorn.Config, channel: ChannelSettings) -> None:
    """Read the certificate.

    Raises:
        SettingsError: it or its key cannot be read, or they do not belong together.
    """
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one of them
        raise SettingsError(
            f"channel.certificate {channel.certificate} and channel.private_key "
            f"{channel.private_key or '(in the same file)'} cannot be used: {error.strerror or error}"
        ) from None


def _cannot_listen(channel: ChannelSettings, error: OSError) -> SettingsError:
    return SettingsError(
        f"the worker channel cannot listen on {channel.host} port {channel.port}: {error.strerror or error}; "
        "choose others by channel.host and channel.port"
    )


class _QuietProtocol(H11Protocol):
    """Without access log, and without patience: a request must have come whole after a while.

    Else whoever can connect could use up all of the process's open files. h11 refuses a head that is too
    long by itself.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False
        self._due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        """Close the connection after a while, unless a whole request is there that waits for its answer."""
        cycle = self.cycle
        is_whole = cycle is not None and not cycle.response_complete and not cycle.more_body
        if is_whole or self.transport.is_closing():
            self._forget()
        elif self._due is None:
            self._due = self.loop.call_later(REQUEST_S, self.transport.close)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class QuietConfig(uvicorn.Config):
    """A server beside another one: it leaves the process's logging alone."""

    def __init__(self, app: ASGIApp, **more: Any) -> None:
        super().__init__(
            app,
            http=_QuietProtocol,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
            **more,
        )

    def configure_logging(self) -> None:
        """Does nothing: it would be for the whole process."""
