"""HTTP to a stock Pulsar: the token, the limits, and what each answer and failure means to us.

Pulsar takes its token only as a query parameter. Here it is added as a request is sent, and no error that
comes of it is chained to ours, so that no log line and no exception above ever holds it.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from tesp_api.errors import PulsarError, PulsarRefused, PulsarUnavailable
from tesp_api.pulsar.job_files import PIECE_BYTES, READ_MAX_BYTES

_log = logging.getLogger(__name__)

CONNECTIONS = 4  # a stock Pulsar has four threads; more requests would only wait there
KEEPALIVE_S = 1.0  # gunicorn closes an idle connection after 2 s: be first
CONNECT_TIMEOUT_S = 5.0

_FAULT_BYTES = 64 * 1024
_AT_ONCE_BYTES = 128 * 1024
"""What the system's buffers take; of more, each piece has its own time."""

# Foreign exceptions, the nearest class in an exception's ancestry decides
FOREIGN_ERRORS: dict[type[Exception], tuple[type[PulsarError], str]] = {
    aiohttp.ClientConnectorError: (PulsarUnavailable, "cannot be reached"),
    aiohttp.ConnectionTimeoutError: (PulsarUnavailable, "cannot be reached in time"),
    aiohttp.ServerTimeoutError: (PulsarUnavailable, "does not answer in time"),
    aiohttp.ServerDisconnectedError: (PulsarUnavailable, "closed the connection without an answer"),
    aiohttp.ClientConnectionError: (PulsarUnavailable, "broke the connection off"),
    aiohttp.ClientPayloadError: (PulsarUnavailable, "broke the connection off"),
    aiohttp.ClientResponseError: (PulsarUnavailable, "sent something that is not HTTP"),
    aiohttp.ClientError: (PulsarUnavailable, "cannot be asked"),
    aiohttp.InvalidURL: (PulsarRefused, "has a URL that cannot be used"),
}


class PulsarFault(PulsarUnavailable):
    """Pulsar answered 500: its word for a missing file and an unknown manager, and for being broken."""


class PulsarHttp:
    """Sends requests to `url`, as many at once as `connections`; errors name the site, never the token.

    All methods belong to one event loop, the constructor to none.

    Raises:
        PulsarRefused: `url` is none, or neither http nor https.
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
        self._token = {} if private_token is None else {"private_token": private_token}
        self._connections = connections
        self._answered_at = -math.inf
        try:
            self._url = URL(url)
        except ValueError:
            raise PulsarRefused(f"Pulsar {name!r} has a URL that cannot be used") from None
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise PulsarRefused(f"Pulsar {name!r} has a URL that is neither http nor https")
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def answered_s_ago(self) -> float:
        """Since when Pulsar has not answered anything with success; infinity if it never has."""
        return time.monotonic() - self._answered_at

    def doubt(self) -> None:
        """Do not count the last answer."""
        self._answered_at = -math.inf

    async def send(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        """Return the body of Pulsar's answer; raise for every answer but success.

        Raises:
            PulsarFault: Pulsar answered 500.
            PulsarUnavailable: it could not be asked, or is passing through a bad time.
            PulsarRefused: it will not do this: a wrong token, not a Pulsar at all.
        """
        data = bytearray()
        async with self._answer(method, path, query, body if body is None else _Body(body)) as answer:
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > READ_MAX_BYTES:
                    raise PulsarRefused(f"Pulsar {self._name!r} answers with more than anybody writes")
        return bytes(data)

    async def send_file(self, path: str, query: Mapping[str, str], source: Path) -> None:
        """POST a file of any size as the body, read as it is sent. Raises: as `send`."""
        size_bytes = (await asyncio.to_thread(source.stat)).st_size
        async with self._answer("POST", path, query, _Body(_pieces(source), size_bytes)):
            pass

    async def fetch(self, path: str, query: Mapping[str, str], sink: Callable[[bytes], None]) -> None:
        """GET a body of any size and give it to `sink`, in a thread, as it comes. Raises: as `send`."""
        async with self._answer("GET", path, query) as answer:
            async for piece in answer.content.iter_chunked(PIECE_BYTES):
                await asyncio.to_thread(sink, piece)

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: "_Body | None" = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of success, whose body is still to be read."""
        target = self._url.raw_path.rstrip("/") + path
        whole = urlencode({**(query or {}), **self._token}, quote_via=quote)
        url = self._url.origin().join(URL(f"{target}?{whole}" if whole else target, encoded=True))
        limit = asyncio.timeout(None)  # while a body is sent, of which aiohttp knows no limit
        sent = body.within(limit, self._timeout_s) if body is not None else None
        headers = body.headers if body is not None else None
        try:
            async with (
                limit,
                self._opened().request(
                    method, url, data=sent, headers=headers, allow_redirects=False
                ) as answer,
            ):
                limit.reschedule(None)
                _log.debug("HTTP Request: %s %s %d", method, target, answer.status)
                if answer.status != HTTPStatus.OK:
                    await answer.content.read(_FAULT_BYTES)  # or its connection could not be used again
                    raise judge(self._name, answer.status)
                yield answer
                self._answered_at = time.monotonic()
        except aiohttp.ClientError as exc:
            raise translate(self._name, exc) from None
        except TimeoutError:
            if not limit.expired():
                raise
            raise PulsarUnavailable(f"Pulsar {self._name!r} does not take in time what it is sent") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"User-Agent": "tesp"}
            if self._url.user is not None or self._url.password is not None:
                login = aiohttp.encode_basic_auth(self._url.user or "", self._url.password or "", "utf-8")
                headers["Authorization"] = login
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=min(self._timeout_s, CONNECT_TIMEOUT_S),
                    sock_read=self._timeout_s,
                ),
            )
        return self._session


class _Body:
    """What is sent: bytes, or pieces that come to so many bytes."""

    def __init__(self, content: bytes | AsyncIterator[bytes], size_bytes: int = 0) -> None:
        self._content = content
        self.headers = {"Content-Length": str(len(content) if isinstance(content, bytes) else size_bytes)}

    def within(self, limit: asyncio.Timeout, timeout_s: float) -> bytes | AsyncIterator[bytes]:
        """The same, in pieces that move the limit on, unless it is little."""
        content = self._content
        if isinstance(content, bytes):
            if len(content) <= _AT_ONCE_BYTES:
                return content
            content = _parts(content)
        return _moving(content, limit, timeout_s)


async def _moving(
    pieces: AsyncIterator[bytes], limit: asyncio.Timeout, timeout_s: float
) -> AsyncIterator[bytes]:
    async for piece in pieces:
        limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
        yield piece


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


async def _pieces(source: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(source.open, "rb", 0) as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def translate(name: str, exc: Exception) -> PulsarError:
    """Our error for one of aiohttp's, by the table."""
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
