"""The channel: how the worker asks the API for logins and signatures, with the attempt's token."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from typing import Any, Callable, Iterator, NamedTuple, Sequence, TypeVar
from urllib.parse import unquote, urlsplit

from .cancellation import Cancellation
from .errors import Canceled, NotPermitted, ServerAway, StagingError
from .order import Reach
from .plain_http import PlainConnection, UnixConnection, http_errors
from .transfer.lending import Ask, Form, Listed, Login, Signed
from .urls import Origin, http_origin

PATIENCE_S = 600.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.2, 10.0
SILENCE_S = 30.0
PASSING = (429, 502, 503, 504)
MOST_ASKS = 500
MOST_BYTES = 900 * 1024
UNIX = "unix:"

Shape = TypeVar("Shape", Login, Signed)


class Line(NamedTuple):
    """An open connection to the API, what its request targets begin with, and the headers of its proxy."""

    connection: Any
    base: str
    headers: dict[str, str]


class Refused(StagingError):
    """The API has said no."""

    def __init__(self, status: int, said: str) -> None:
        self.is_final = status < 500
        self.said = said
        super().__init__(f"The server does not lend what the transfers need: {said}")


class Channel:
    """A `Lender` that asks the API. While that is away, being restarted say, it is asked for ten minutes."""

    def __init__(self, reach: Reach, cancellation: Cancellation, message: Callable[[str], None]) -> None:
        self._reach = reach
        self._cancellation = cancellation
        self._message = message
        self._idle: list[Line] = []
        self._is_waiting = False
        self._lock = threading.Lock()
        self._logins: list[Login] | StagingError | None = None

    def login_for(self, url: str) -> Login | None:
        """All logins are fetched when the first URL comes up."""
        with self._lock:
            if self._logins is None:
                try:
                    answer = self._ask("logins", {})
                    self._logins = [_as(Login, login) for login in answer["logins"]]
                except StagingError as error:
                    self._logins = error
            logins = self._logins
        if isinstance(logins, StagingError):
            raise logins
        return login_of(url, logins)

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        """To abort uploads is also asked for after a cancel, and waits for nothing."""
        cleans_up = all(ask.operation == "abort_upload" for ask in asks)
        signed: list[Signed] = []
        for batch in _batches(asks):
            answer = self._ask("sign", {"asks": batch}, cleans_up)
            signed += [_as(Signed, one) for one in answer["signed"]]
        return signed

    def permit(self, worker: str, step: str) -> None:
        """Be let to "start", or to "commit", for which the server may be away as long as it likes.

        Raises: NotPermitted, ServerAway, Canceled.
        """
        try:
            answer = self._ask("permit", {"worker": worker, "step": step}, is_endless=step == "commit")
        except StagingError as error:
            if isinstance(error, Refused) and error.is_final:
                raise NotPermitted(f"The server does not let this worker {step}: {error.said}") from None
            raise ServerAway(str(error)) from None
        if answer.get("cancel"):
            raise Canceled("canceled on request")

    def report(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """The API's answer to news; None while it is away. Raises: StagingError when it wants no more."""
        return self._ask_once("/channel/v1/report", json.dumps(document).encode())[0]

    def listing_of(self, url: str) -> list[Listed] | None:
        return None

    def form_for(self, url: str) -> Form | None:
        return None

    def _ask(
        self, what: str, document: dict[str, Any], cleans_up: bool = False, is_endless: bool = False
    ) -> dict[str, Any]:
        """Raises: StagingError when the API refuses, or is away for too long; Canceled."""
        body = json.dumps(document).encode()
        began = time.monotonic()
        pause_s = PAUSE_MIN_S
        while True:
            if not cleans_up:
                self._cancellation.check()
            try:
                answer, reason = self._ask_once(f"/channel/v1/{what}", body)
            except StagingError as error:
                if not is_endless or (isinstance(error, Refused) and error.is_final):
                    raise
                answer, reason = None, str(error)
            if answer is not None:
                self._is_waiting = False
                return answer
            waited_s = time.monotonic() - began
            if cleans_up or (waited_s > PATIENCE_S and not is_endless):
                raise StagingError(
                    f"The server at {self._reach.url} could not be asked for {waited_s:.0f} s: {reason}"
                )
            self._wait(pause_s, reason)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    def _ask_once(self, path: str, body: bytes) -> tuple[dict[str, Any] | None, str]:
        """The answer, or why there is none yet. Raises: StagingError when there will be none."""
        try:
            status, answer = self._exchange(path, body)
            if status == 200:
                return json.loads(answer), ""
        except http_errors() as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if hasattr(error, "verify_message"):  # what is not trusted now will not be soon
                raise StagingError(f"The server at {self._reach.url} is not trusted: {reason}") from error
            return None, reason
        if status in PASSING:
            return None, _said(status, answer)
        raise Refused(status, _said(status, answer))

    def _wait(self, pause_s: float, reason: str) -> None:
        """Say once that the API is away, and sleep. Raises: Canceled."""
        if not self._is_waiting:
            self._is_waiting = True
            self._message(f"Waiting for the server at {self._reach.url}: {reason}")
        self._cancellation.sleep(pause_s)

    def _exchange(self, path: str, body: bytes) -> tuple[int, bytes]:
        """One request; on a connection that was kept, unless the server has closed it meanwhile."""
        while True:
            try:
                line, is_kept = self._idle.pop(), True
            except IndexError:
                line, is_kept = _open(self._reach), False
            try:
                answer = _send(line, path, body, self._reach)
            except http_errors():
                line.connection.close()
                if is_kept:
                    continue
                raise
            self._idle.append(line)
            return answer


def _open(reach: Reach) -> Line:
    """A connection to be made with its first request, through the site's proxy if it is by HTTP."""
    if reach.url.startswith(UNIX):
        return Line(UnixConnection(reach.url[len(UNIX) :], SILENCE_S), "", {})
    origin = http_origin(reach.url)
    proxy = _proxy_of(origin)
    if proxy and proxy.scheme != "http":  # as in the transfers' connections
        raise StagingError(f"{reach.url}: its proxy must be an http:// one")
    base = origin.target.rstrip("/")
    if not proxy:
        return Line(PlainConnection(origin, SILENCE_S, reach.ca_pem), base, {})
    import http.client

    headers = {}
    if proxy.userinfo:
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(proxy.userinfo.encode()).decode()}"
    if origin.scheme == "https":
        import ssl

        context = ssl.create_default_context(cadata=reach.ca_pem)
        tunnel = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=SILENCE_S, context=context)
        tunnel.set_tunnel(origin.host, origin.port, headers)
        return Line(tunnel, base, {})
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=SILENCE_S)
    return Line(connection, reach.url.rstrip("/"), headers)


def _proxy_of(origin: Origin) -> Origin | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):  # importing what knows takes long
        return None
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get(origin.scheme)
    if not url or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return http_origin(url if "://" in url else f"http://{url}")


def _send(line: Line, path: str, body: bytes, reach: Reach) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {reach.token}", "Content-Type": "application/json"}
    if reach.request_id:
        headers["X-Request-ID"] = reach.request_id
    line.connection.request("POST", line.base + path, body, {**line.headers, **headers})
    response = line.connection.getresponse()
    return response.status, response.read()


def _as(kind: Callable[..., Shape], document: dict[str, Any]) -> Shape:
    """What is in the document by the names of the kind's fields: a later server may send more.

    Raises: TypeError for a document that lacks one.
    """
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return kind(**{field: document[field] for field in fields if field in document})


def _said(status: int, answer: bytes) -> str:
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):  # a proxy's page
        return f"status {status}"


def _batches(asks: Sequence[Ask]) -> Iterator[list[dict[str, Any]]]:
    """As many at once as the API takes: so many, and so many bytes."""
    batch: list[dict[str, Any]] = []
    size_bytes = 0
    for ask in asks:
        item = ask._asdict()
        item_bytes = len(json.dumps(item)) + 2
        if batch and (len(batch) == MOST_ASKS or size_bytes + item_bytes > MOST_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += item_bytes
    if batch:
        yield batch


def login_of(url: str, logins: Sequence[Login]) -> Login | None:
    """The login with the longest prefix of this URL of HTTP or FTP."""
    fitting = [login for login in logins if _is_for(login.url_prefix, url)]
    return max(fitting, key=lambda login: len(login.url_prefix), default=None)


def _is_for(prefix: str, url: str) -> bool:
    """Whether the URL is the prefix or below it. One with a query is for that very URL only."""
    if url == prefix or "?" in prefix:
        return url == prefix
    host, path = _place_of(url)
    wanted_host, wanted = _place_of(prefix)
    wanted = wanted.rstrip("/")
    # a backslash is a slash to some servers, and what follows a semicolon nothing
    parts = path.replace("\\", "/").split("/")
    is_plain = not any(part.partition(";")[0] in (".", "..") for part in parts)
    return is_plain and host == wanted_host and (path == wanted or path.startswith(wanted + "/"))


def _place_of(url: str) -> tuple[tuple[str, str], str]:
    """Scheme and host, and the decoded path: without what may differ in two names of one place."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
    for own, port in (("http", ":80"), ("https", ":443"), ("ftp", ":21")):
        if scheme == own and host.endswith(port):
            host = host[: -len(port)]
    return (scheme, host), unquote(parts.path, errors="surrogateescape")
