"""HTTP connections: one request at a time, through the site's proxy where its environment names one."""

from __future__ import annotations

import base64
import http.client
import os
from typing import Any, Iterable

from ..urls import Origin, http_origin

ALWAYS = {"User-Agent": "tesp-worker", "Accept-Encoding": "identity"}


class _Lines:
    """Keeps the last line that was read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b""
        self.close = file.close

    def readline(self, limit: int) -> bytes:
        self.last = self._file.readline(limit)
        return self.last


class _Response(http.client.HTTPResponse):
    """Notices headers that are cut off: http.client takes the end of the connection for theirs."""

    def begin(self) -> None:
        if self.headers is not None:
            return
        file: Any = self.fp
        lines: Any = _Lines(file)
        self.fp = lines
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = file
        if not lines.last:
            raise http.client.HTTPException("the connection ended in the headers of the answer")


class Exchange:
    """One request and its response; close it when the body is read.

    Raises: OSError, HTTPException; a server that is silent for `stall_s` is one of them.
    """

    def __init__(
        self, method: str, url: str, headers: dict[str, str], stall_s: float, body: Iterable[bytes] = ()
    ) -> None:
        origin = http_origin(url)
        self._connection, target, via_proxy = _connect(origin, stall_s)
        try:
            self._connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {**ALWAYS, **_credentials(origin), **via_proxy, **headers}.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()
            self.response = self._send(body)
        except BaseException:
            self._connection.close()
            raise

    def _send(self, body: Iterable[bytes]) -> http.client.HTTPResponse:
        try:
            for data in body:
                self._connection.send(data)
        except (BrokenPipeError, ConnectionResetError) as broken:
            try:
                return self._connection.getresponse()  # it refused without reading on, and said why
            except (OSError, http.client.HTTPException):
                raise broken from None
        return self._connection.getresponse()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(origin: Origin, stall_s: float) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """A connection, the request target to use on it, and the headers that its proxy needs."""
    proxy = _proxy_of(origin)
    if proxy is None:
        return _open(origin.scheme, origin.host, origin.port, stall_s), origin.target, {}
    headers = {"Proxy-Authorization": _basic(proxy.userinfo)} if proxy.userinfo else {}
    if origin.scheme == "http":
        connection = _open(proxy.scheme, proxy.host, proxy.port, stall_s)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        return connection, f"http://{host}:{origin.port}{origin.target}", headers
    connection = _open("https", proxy.host, proxy.port, stall_s)
    connection.set_tunnel(origin.host, origin.port, headers)
    return connection, origin.target, {}


def _open(scheme: str, host: str, port: int, stall_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=stall_s)
    connection.response_class = _Response
    return connection


def _proxy_of(origin: Origin) -> Origin | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get(origin.scheme)
    if not url or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return http_origin(url if "://" in url else f"http://{url}")


def _credentials(origin: Origin) -> dict[str, str]:
    return {"Authorization": _basic(origin.userinfo)} if origin.userinfo else {}


def _basic(userinfo: str) -> str:
    return "Basic " + base64.b64encode(userinfo.encode()).decode()
