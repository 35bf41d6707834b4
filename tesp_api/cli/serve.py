"""`tesp serve`: the server, in the foreground."""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.plain_text import PlainFormatter

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tesp_api.settings import Settings

_OPEN_FILES = 65_536
_BACKLOG = 2048
_LOOPBACK = ("localhost", "127.", "::1")

Data = Annotated[
    Path | None,
    typer.Option(
        file_okay=False, help="The folder of the store and of embedded jobs; ~/.local/share/tesp unless set."
    ),
]
AllowBubblewrap = Annotated[
    bool,
    typer.Option(
        "--allow-bubblewrap",
        help="Where there is no container engine, run this machine's own programs in a sandbox.",
    ),
]


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen; 127.0.0.1 unless set.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="8080 unless set; 0 takes any free port.")
    ] = None,
    data: Data = None,
    allow_bubblewrap: AllowBubblewrap = False,
) -> None:
    """Start the server. Stop it with Ctrl-C or SIGTERM; running tasks go on and are taken up again."""
    server = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    settings = read_settings(data, allow_bubblewrap, server=server)
    with _listening_socket(settings.server.host, settings.server.port) as listener:
        _check_who_is_served(settings, listener.getsockname()[0])
        # From here on the settings name the port that was really taken.
        server["port"] = listener.getsockname()[1]
        _run(read_settings(data, allow_bubblewrap, server=server), listener)


def read_settings(data: Path | None, allow_bubblewrap: bool, **overrides: Any) -> "Settings":
    """The settings with what the command line says on top of them, or a message for the user."""
    from tesp_api.errors import SettingsError
    from tesp_api.settings import load_settings

    if data is not None:
        overrides["data_dir"] = str(data)
    try:
        settings = load_settings(**overrides)
        if not allow_bubblewrap:
            return settings
        embedded = [name for name, site in settings.destinations.items() if site.kind == "embedded"]
        overrides["destinations"] = {name: {"allow_bubblewrap": True} for name in embedded}
        return load_settings(**overrides)
    except SettingsError as error:
        raise CommandFailed(str(error), Exit.USAGE) from None


def _check_who_is_served(settings: "Settings", address: str) -> None:
    """Where nobody logs in, other machines are served only on the operator's word."""
    if settings.auth.is_open and not settings.auth.open_to_network and not ip_address(address).is_loopback:
        raise CommandFailed(
            f"{settings.server.host} is not loopback, and nobody has to log in: whoever reaches the port "
            "would run programs here. Choose auth.modes, or set auth.open_to_network = true",
            Exit.USAGE,
        )


def _listening_socket(host: str, port: int) -> socket.socket:
    """Taken before anything is started: a port in use is the most frequent mistake."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise CommandFailed(
            f"{reason}; choose others with --host and --port (port 0: any free one)"
        ) from None
    return listener


def _run(settings: "Settings", listener: socket.socket) -> None:
    import uvicorn

    from tesp_api.app import create_app
    from tesp_api.cli.http_protocol import KEEP_ALIVE_S, LimitedHttpProtocol
    from tesp_api.errors import TespError

    # Others speak up only when something is wrong; httpx would log URLs, and Pulsar's carry its token.
    shown = logging.StreamHandler()
    shown.setFormatter(_formatter(settings))
    logging.basicConfig(level=logging.WARNING, handlers=[shown])
    logging.getLogger("tesp_api").setLevel(settings.log_level.upper())
    _allow_open_files()
    config = uvicorn.Config(
        create_app(settings),
        http=LimitedHttpProtocol,
        timeout_keep_alive=KEEP_ALIVE_S,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",  # ours: `_serve` enters it, so that its errors can be told from bugs
    )
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(config, settings, listener))
    except TespError as error:
        raise CommandFailed(str(error)) from None


def _formatter(settings: "Settings") -> logging.Formatter:
    if settings.log_format == "text":
        return PlainFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    from tesp_api.cli.json_lines import JsonFormatter

    return JsonFormatter()


def _allow_open_files() -> None:
    """Each client that follows something holds a connection: as many as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _serve(config: Any, settings: "Settings", listener: socket.socket) -> None:
    """Start the application, listen until told to stop, end the application."""
    from tesp_api.cli.draining_server import DrainingServer

    app: FastAPI = config.app
    async with app.router.lifespan_context(app):
        listener.listen(_BACKLOG)
        typer.echo(_banner(settings))
        with _ignored(signal.SIGTERM, signal.SIGINT):
            await DrainingServer(config, app.state.drain, settings.server.drain_s).serve(sockets=[listener])
    typer.echo("stopped")


@contextmanager
def _ignored(*signals: signal.Signals) -> Iterator[None]:
    """uvicorn handles these while it serves, and raises them once more when it has stopped: too early
    for us, since the application has still to be ended."""
    before = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _banner_of_channel(settings: "Settings") -> list[str]:
    channel = settings.channel
    ways = ["the socket channel.sock of the data folder"] if settings.has_embedded_pulsar else []
    if channel.port is not None:
        urls = {one.channel_url or channel.url or "" for one in settings.destinations.values()} - {""}
        host = f"[{channel.host}]" if ":" in channel.host else channel.host
        tls = "with" if channel.certificate else "without"
        ways.append(f"{host}:{channel.port} {tls} TLS, which they call {', '.join(sorted(urls))}")
    return [f"  channel       for workers: {way}" for way in ways]


def _banner(settings: "Settings") -> str:
    host = settings.server.host
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - for show
    url = f"http://{shown}:{settings.server.port}"
    lines = [
        f"TESP listens on {url}",
        f"  TES API       {url}/ga4gh/tes/v1",
        f"  documentation {url}/docs",
        f"  data folder   {settings.data_dir}",
        f"  store         {settings.store}",
        *_banner_of_channel(settings),
    ]
    for name, one in settings.destinations.items():
        gateway = "; this server moves the files" if one.staging == "gateway" else ""
        runtimes = ", ".join(one.runtimes_in_order)
        lines.append(f"  destination   {name}: Pulsar {one.place}; {runtimes}{gateway}")
    if settings.auth.is_open:
        lines.append("  users         nobody has to log in")
    else:
        lines.append(f"  users         log in: {', '.join(settings.auth.modes)}")
    if not host.startswith(_LOOPBACK):
        danger = "whoever reaches this port runs programs here"
        if not settings.auth.is_open:
            danger = "what users log in with needs TLS, by a proxy before this server"
        lines.append(f"warning: {host} is not loopback: {danger}")
    return "\n".join(lines)
