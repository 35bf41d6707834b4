"""HTTP to a stock Pulsar: the token, the limits, and what each answer and failure means to us.

Pulsar takes its token only as a query parameter. Here it is added below httpx's client, and on the way into
`HttpConnections`, so that no log line, no exception and no `request.url` above ever holds it.
"""

import asyncio
import base64
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from http.client import HTTPException, RemoteDisconnected
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

import httpx

from tesp_api.errors import PulsarError, PulsarRefused, PulsarUnavailable
from tesp_api.pulsar.http_connections import HttpConnections, NotConnected, Server, TooLarge
from tesp_api.pulsar.job_files import PIECE_BYTES, READ_MAX_BYTES

_log = logging.getLogger(__name__)

CONNECTIONS = 4  # a stock Pulsar has four threads; more requests would only wait there
KEEPALIVE_S = 1.0  # gunicorn closes an idle connection after 2 s: be first
CONNECT_TIMEOUT_S = 5.0
BINARY = {"Content-Type": "application/octet-stream"}

# Foreign exceptions, the nearest class in an exception's ancestry decides
FOREIGN_ERRORS: dict[type[Exception], tuple[type[PulsarError], str]] = {
    NotConnected: (PulsarUnavailable, "cannot be reached"),
    TimeoutError: (PulsarUnavailable, "does not answer in time"),
    OSError: (PulsarUnavailable, "broke the connection off"),
    EOFError: (PulsarUnavailable, "broke the connection off"),
    RemoteDisconnected: (PulsarUnavailable, "closed the connection without an answer"),
    HTTPException: (PulsarUnavailable, "sent something that is not HTTP"),
    httpx.ConnectTimeout: (PulsarUnavailable, "cannot be reached in time"),
    httpx.PoolTimeout: (PulsarUnavailable, "is busy with our other requests"),
    httpx.TimeoutException: (PulsarUnavailable, "does not answer in time"),
    httpx.ConnectError: (PulsarUnavailable, "cannot be reached"),
    httpx.NetworkError: (PulsarUnavailable, "broke the connection off"),
    httpx.RemoteProtocolError: (PulsarUnavailable, "closed the connection without an answer"),
    httpx.ProxyError: (PulsarUnavailable, "cannot be reached through the proxy"),
    httpx.DecodingError: (PulsarUnavailable, "sent an answer that cannot be decoded"),
    httpx.LocalProtocolError: (PulsarRefused, "cannot be asked this"),
    httpx.UnsupportedProtocol: (PulsarRefused, "has a URL that is neither http nor https"),
    httpx.TooManyRedirects: (PulsarRefused, "sends us from place to place"),
    httpx.InvalidURL: (PulsarRefused, "has a URL that cannot be used"),
}


class PulsarFault(PulsarUnavailable):
    """Pulsar answered 500: its word for a missing file and an unknown manager, and for being broken."""


class PulsarHttp:
    """Sends requests to `url`, as many at once as `connections`; errors name the site, never the token.

    Small ones go by `HttpConnections`, files of any size by httpx.
    """

    def __init__(
        self,
        name: str,
        url: str,
        private_token: str | None,
        timeout_s: float,
        connections: int = CONNECTIONS,
    ) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._token = private_token
        self._answered_at = -math.inf
        try:
            base = httpx.URL(url)
        except httpx.InvalidURL as exc:
            raise translate(name, exc) from None
        auth = (base.username, base.password) if base.userinfo else None
        transport: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=KEEPALIVE_S)
        )
        if private_token is not None:
            transport = TokenTransport(private_token, transport)
        self._client = httpx.AsyncClient(
            base_url=base.copy_with(userinfo=b""),
            auth=auth,
            transport=transport,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        )
        self._slots = asyncio.Semaphore(connections)
        self._base = base
        self._connections: HttpConnections | None = None

    async def aclose(self) -> None:
        await self._client.aclose()
        if self._connections is not None:
            await self._connections.aclose()

    @property
    def answered_s_ago(self) -> float:
        """Since when Pulsar has not answered anything with success; infinity if it never has."""
        return time.monotonic() - self._answered_at

    async def send(
        self, method: str, path: str, query: dict[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        """Return the body of Pulsar's answer; raise for every answer but success.

        Raises:
            PulsarFault: Pulsar answered 500.
            PulsarUnavailable: it could not be asked, or is passing through a bad time.
            PulsarRefused: it will not do this: a wrong token, not a Pulsar at all.
        """
        target = self._base.raw_path.decode().rstrip("/") + path
        try:
            connections = self._connections = self._connections or self._connect()
            async with self._slots:
                status, data = await connections.exchange(
                    method, self._with_token(target, query), body, READ_MAX_BYTES
                )
        except TooLarge:
            raise PulsarRefused(f"Pulsar {self._name!r} answers with more than anybody writes") from None
        except (OSError, EOFError, HTTPException, httpx.UnsupportedProtocol) as exc:
            raise translate(self._name, exc) from exc
        _log.debug("HTTP Request: %s %s %d", method, target, status)
        if status != httpx.codes.OK:
            raise judge(self._name, status)
        self._answered_at = time.monotonic()
        return data

    def _with_token(self, target: str, query: dict[str, str] | None) -> str:
        token = {} if self._token is None else {"private_token": self._token}
        whole = urlencode({**(query or {}), **token}, quote_via=quote)
        return f"{target}?{whole}" if whole else target

    def _connect(self) -> HttpConnections:
        """Raises: httpx.UnsupportedProtocol: the URL is neither http nor https."""
        base = self._base
        if base.scheme not in ("http", "https") or not base.host:
            raise httpx.UnsupportedProtocol("")
        is_tls = base.scheme == "https"
        headers = {"Host": base.netloc.decode(), "Accept": "*/*", "User-Agent": "tesp"}
        if base.userinfo:
            login = f"{unquote(base.username)}:{unquote(base.password)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        return HttpConnections(
            Server(
                base.raw_host.decode(),
                base.port or (443 if is_tls else 80),
                httpx.create_ssl_context() if is_tls else None,
                headers,
            ),
            timeout_s=self._timeout_s,
            connect_s=min(self._timeout_s, CONNECT_TIMEOUT_S),
            keepalive_s=KEEPALIVE_S,
        )

    async def send_file(self, path: str, query: dict[str, str], source: Path) -> None:
        """POST a file of any size as the body, read as it is sent. Raises: as `send`."""
        size_bytes = (await asyncio.to_thread(source.stat)).st_size
        headers = {**BINARY, "Content-Length": str(size_bytes)}
        try:
            async with self._slots:
                answer = await self._client.post(path, params=query, content=_pieces(source), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise translate(self._name, exc) from exc
        if answer.status_code != httpx.codes.OK:
            raise judge(self._name, answer.status_code)

    async def fetch(self, path: str, query: dict[str, str], sink: Callable[[bytes], None]) -> None:
        """GET a body of any size and give it to `sink`, in a thread, as it comes. Raises: as `send`."""
        try:
            async with self._slots, self._client.stream("GET", path, params=query) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise judge(self._name, answer.status_code)
                async for piece in answer.aiter_bytes(PIECE_BYTES):
                    await asyncio.to_thread(sink, piece)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise translate(self._name, exc) from exc


async def _pieces(source: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(source.open, "rb", 0) as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


class TokenTransport(httpx.AsyncBaseTransport):
    """Adds the token to each request on its way out, behind the back of the client and its logging."""

    def __init__(self, private_token: str, inner: httpx.AsyncBaseTransport) -> None:
        self._token = private_token
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        tokened = httpx.Request(
            request.method,
            request.url.copy_add_param("private_token", self._token),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._inner.handle_async_request(tokened)

    async def aclose(self) -> None:
        await self._inner.aclose()


def translate(name: str, exc: Exception) -> PulsarError:
    """Our error for one of httpx's, by the table."""
    for ancestor in type(exc).__mro__:
        if ancestor in FOREIGN_ERRORS:
            ours, what = FOREIGN_ERRORS[ancestor]
            return ours(f"Pulsar {name!r} {what} ({type(exc).__name__})")
    raise exc


def judge(name: str, status_code: int) -> PulsarError:
    """Our error for an answer that is no success."""
    if status_code in (401, 403):
        return PulsarRefused(f"Pulsar {name!r} does not accept our private token ({status_code})")
    if status_code == 500:
        return PulsarFault(f"Pulsar {name!r} failed inside (500): its own log says why")
    if status_code > 500 or status_code in (408, 425, 429):
        return PulsarUnavailable(f"Pulsar {name!r} does not answer now ({status_code})")
    if 300 <= status_code < 400:
        return PulsarRefused(f"Pulsar {name!r} is elsewhere ({status_code}): correct the URL")
    return PulsarRefused(f"at the URL of Pulsar {name!r} there is no Pulsar that knows this ({status_code})")


def in_path(part: str) -> str:
    """A manager's name or a job id as one segment of a URL's path."""
    return quote(part, safe="")
