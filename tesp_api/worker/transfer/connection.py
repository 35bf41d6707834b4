"""HTTP connections: one request at a time, through the site's proxy where its environment names one."""

from __future__ import annotations

import base64
import http.client
import os
from typing import Iterable

from ..urls import Origin, http_origin

TIMEOUT_S = 60.0


class Exchange:
    """One request and its response; close it when the body is read."""

    def __init__(self, method: str, url: str, headers: dict[str, str], body: Iterable[bytes] = ()) -> None:
        origin = http_origin(url)
        self._connection, target, via_proxy = _connect(origin)
        try:
            self._connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {**_credentials(origin), **via_proxy, **headers}.items():
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


def _connect(origin: Origin) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """A connection, the request target to use on it, and the headers that its proxy needs."""
    proxy = _proxy_of(origin)
    if proxy is None:
        return _open(origin.scheme, origin.host, origin.port), origin.target, {}
    headers = {"Proxy-Authorization": _basic(proxy.userinfo)} if proxy.userinfo else {}
    if origin.scheme == "http":
        connection = _open(proxy.scheme, proxy.host, proxy.port)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        return connection, f"http://{host}:{origin.port}{origin.target}", headers
    connection = _open("https", proxy.host, proxy.port)
    connection.set_tunnel(origin.host, origin.port, headers)
    return connection, origin.target, {}


def _open(scheme: str, host: str, port: int) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    return kind(host, port, timeout=TIMEOUT_S)


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
