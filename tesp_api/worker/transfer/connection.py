"""HTTP connections, used again and again; through the site's proxy where its environment names one."""

from __future__ import annotations

import base64
import os
import select
import socket
import threading
from functools import lru_cache
from http.client import HTTPException, HTTPResponse
from typing import Any, Iterable, NamedTuple

from ..errors import StagingError
from ..urls import Origin, http_origin, shown
from .answer import Answer, Incoming, Pace
from .guard import Guard
from .slices import Slice
from .unsent import wait_until_sent

ALWAYS = {"User-Agent": "tesp-worker", "Accept-Encoding": "identity"}
MOST_IDLE = 16


class _Route(NamedTuple):
    """A way to a server: connections that have the same one may stand in for each other."""

    guard: Guard
    scheme: str
    host: str
    port: int
    proxy: Origin | None

    @property
    def is_tunnel(self) -> bool:
        return self.proxy is not None and self.scheme == "https"

    @property
    def authority(self) -> str:
        host = self.host if self.host.isascii() else self.host.encode("idna").decode()
        host = f"[{host}]" if ":" in host else host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


class _Line:
    """An open connection to the end of a route."""

    def __init__(self, route: _Route, connection: socket.socket) -> None:
        self.route = route
        self.socket = connection
        self.pace = Pace(connection.recv)
        self.incoming = Incoming(self.pace.receive)

    def is_quiet(self) -> bool:
        """Whether the server neither has closed it nor sent what nobody asked for."""
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        return not self.incoming.buffer and not waiting.poll(0)

    def close(self) -> None:
        self.socket.close()


class _Idle:
    """Open connections that nobody uses, at most `MOST_IDLE`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._lock = threading.Lock()

    def take(self, route: _Route) -> _Line | None:
        """The one that was used last; those that have gone stale are closed."""
        while True:
            with self._lock:
                at = next((at for at, one in enumerate(self._lines) if one.route == route), None)
                line = None if at is None else self._lines.pop(at)
            if line is None or line.is_quiet():
                return line
            line.close()

    def put(self, line: _Line) -> None:
        with self._lock:
            self._lines.insert(0, line)
            dropped = self._lines[MOST_IDLE:]
            del self._lines[MOST_IDLE:]
        for one in dropped:
            one.close()

    def close(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            line.close()


IDLE = _Idle()


class Exchange:
    """One request and its response; close it when the body is read.

    The connection is kept for others if the response was read to its end. One that was kept and turns out
    to be dead before anything came is replaced once, unless part of the body is gone.

    Raises: OSError, HTTPException; a server that is silent for `stall_s` is one of them; StagingError if
    the guard refuses.
    """

    def __init__(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        stall_s: float,
        body: Iterable[bytes] = (),
        *,
        guard: Guard,
    ) -> None:
        origin = http_origin(url)
        guard.require(url, *origin[:3])
        route = _route(guard, *origin[:3])
        head = _head(method, origin, route, headers)
        self._is_sent = self._is_begun = self._is_closed = False
        line = IDLE.take(route)
        if line is not None:
            try:
                self._ask(line, method, head, stall_s, body)
                return
            except OSError as error:
                if line.incoming.is_begun or self._is_begun or isinstance(error, socket.timeout):
                    raise
        self._ask(_open(route, url, stall_s), method, head, stall_s, body)

    def _ask(self, line: _Line, method: str, head: bytes, stall_s: float, body: Iterable[bytes]) -> None:
        self._line = line
        try:
            line.socket.settimeout(stall_s)
            line.pace.begin(stall_s)
            line.incoming.is_begun = False
            line.socket.sendall(head)
            self._send(body)
            if self._is_begun:
                wait_until_sent(line.socket, stall_s)
            self.response: HTTPResponse = Answer(line.incoming, method)
        except BaseException:
            line.close()
            raise

    def _send(self, body: Iterable[bytes]) -> None:
        try:
            if isinstance(body, Slice) and type(self._line.socket) is socket.socket:  # not one of TLS
                self._is_begun = True
                body.send_to(self._line.socket)
            else:
                for data in body:
                    self._is_begun = True
                    self._line.socket.sendall(data)
            self._is_sent = True
        except (BrokenPipeError, ConnectionResetError):
            if not self._is_begun or not self._has_answer():
                raise

    def _has_answer(self) -> bool:
        """Whether the server refused without reading on, and said why."""
        try:
            self._line.incoming.fill()
            return True
        except (OSError, HTTPException):
            return False

    def close(self) -> None:
        """Does nothing the second time: somebody else may have the connection by then."""
        if self._is_closed:
            return
        self._is_closed = True
        response = self.response
        is_read = response.isclosed() or (response.length == 0 and not response.chunked)
        if is_read and self._is_sent and not response.will_close:
            IDLE.put(self._line)
        else:
            self._line.close()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._is_sent = self._is_sent and kind is None  # another try shall go by another way
        self.close()


def _head(method: str, origin: Origin, route: _Route, headers: dict[str, str]) -> bytes:
    """Raises: ValueError for a line break in it."""
    every = {"Host": route.authority, **ALWAYS, **headers}
    if origin.userinfo and "Authorization" not in every:
        every["Authorization"] = _basic(origin.userinfo)
    target = origin.target
    if route.proxy is not None and not route.is_tunnel:
        target = f"http://{route.authority}{target}"
        every.update(_proxy_headers(route.proxy))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items())]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a line break in a header")
    return f"{text}\r\n\r\n".encode("latin-1")


def _open(route: _Route, url: str, stall_s: float) -> _Line:
    proxy = route.proxy
    if proxy is None:
        connection = route.guard.connect(url, route.host, route.port, stall_s)
    else:
        connection = socket.create_connection((proxy.host, proxy.port), stall_s)
        route.guard.opened(connection)
    try:
        if proxy is not None and route.is_tunnel:
            if proxy.scheme == "https":  # else its login would go there in clear
                raise StagingError(f"{shown(url)}: its proxy must be an http:// one")
            _dig(connection, route)
        near = proxy if proxy is not None and route.scheme == "http" else route
        if near.scheme == "https":
            connection = _tls().wrap_socket(
                connection, server_hostname=near.host, do_handshake_on_connect=False
            )
            route.guard.opened(connection)
            connection.do_handshake()
        return _Line(route, connection)
    except BaseException:
        connection.close()
        raise


def _dig(connection: socket.socket, route: _Route) -> None:
    """Have the proxy make a tunnel. Raises: OSError, HTTPException."""
    host = f"[{route.host}]" if ":" in route.host else route.host.encode("idna").decode()
    headers = {"Host": f"{host}:{route.port}", **(_proxy_headers(route.proxy) if route.proxy else {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"CONNECT {host}:{route.port} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
    answer = Answer(Incoming(connection.recv), "CONNECT")
    if answer.status != 200:
        raise OSError(f"the proxy refuses a tunnel: {answer.status} {answer.reason}".rstrip())


@lru_cache(maxsize=1)
def _tls() -> Any:
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=64)
def _route(guard: Guard, scheme: str, host: str, port: int) -> _Route:
    return _Route(guard, scheme, host, port, _proxy_of(scheme, host, port))


def _proxy_of(scheme: str, host: str, port: int) -> Origin | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get(scheme)
    if not url or proxy_bypass(f"{host}:{port}"):
        return None
    return http_origin(url if "://" in url else f"http://{url}")


def _proxy_headers(proxy: Origin) -> dict[str, str]:
    return {"Proxy-Authorization": _basic(proxy.userinfo)} if proxy.userinfo else {}


def _basic(userinfo: str) -> str:
    return "Basic " + base64.b64encode(userinfo.encode()).decode()
