"""Transfers over HTTP and HTTPS: GET with redirects; PUT, or a multipart POST where PUT is refused."""

from __future__ import annotations

import http.client
import os
import secrets
from typing import Callable, Iterator
from urllib.parse import quote, urljoin

from ..errors import StagingError
from ..job import write_all
from ..urls import scheme_of, shown
from . import BUFFER_BYTES, Site, Source
from .connection import Exchange

TRIES = 3
FIRST_PAUSE_S = 0.5
MAX_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
PUT_REFUSED = (405, 501)


class Passing(Exception):
    """A failure that another try may mend."""


def fetch_file(url: str, destination: str, site: Site) -> None:
    _try_often(lambda: _get(url, destination, site), url, site)


def fetch_directory(url: str, destination: str, site: Site) -> None:
    raise StagingError(
        f"DIRECTORY inputs over http are not supported; list the files of {shown(url)} as FILE inputs"
    )


def send_file(source: Source, url: str, site: Site) -> None:
    _try_often(lambda: _send(source, url, site), url, site)


def make_directory(url: str, site: Site) -> None:
    """Does nothing: HTTP has no directories."""


def is_in_place(url: str, host_path: str, site: Site) -> bool:
    return False


def _try_often(attempt: Callable[[], None], url: str, site: Site) -> None:
    for number in range(1, TRIES + 1):
        try:
            return attempt()
        except (Passing, OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, OSError) and error.errno in (28, 122):  # the disk is full, or the quota
                raise StagingError(f"Cannot store {shown(url)}: {error.strerror}") from error
            if number == TRIES:
                raise StagingError(f"{shown(url)}: {reason} (tried {TRIES} times)") from error
        site.cancellation.sleep(FIRST_PAUSE_S * 2 ** (number - 1))
    return None


def _get(url: str, destination: str, site: Site) -> None:
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        with Exchange("GET", here, {"User-Agent": "tesp-worker"}) as exchange:
            response = exchange.response
            if response.status in REDIRECTS:
                here = _redirected(url, here, response)
                continue
            _require(response, url, (200,))
            return _save(response, url, destination, site)
    raise StagingError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")


def _redirected(url: str, here: str, response: http.client.HTTPResponse) -> str:
    location = urljoin(here, response.headers.get("Location", ""))
    if scheme_of(location) not in ("http", "https"):
        raise StagingError(f"{shown(url)}: redirected to {shown(location)!r}, which is not followed")
    return location


def _save(response: http.client.HTTPResponse, url: str, destination: str, site: Site) -> None:
    expected = response.length
    received = 0
    descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        while True:
            site.cancellation.check()
            data = response.read(BUFFER_BYTES)
            if not data:
                break
            received += len(data)
            write_all(descriptor, data)
        os.fchmod(descriptor, 0o666)
    finally:
        os.close(descriptor)
    if expected is not None and received != expected:
        raise Passing(f"the server promised {expected} bytes and sent {received}")


def _send(source: Source, url: str, site: Site) -> None:
    status = _send_by("PUT", source, url, site, _file_body(source, site), source.size_bytes, {})
    if status in PUT_REFUSED:
        boundary = secrets.token_hex(16)
        head, tail = _multipart_frame(boundary, source.name)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        body = _multipart_body(head, _file_body(source, site), tail)
        _send_by("POST", source, url, site, body, len(head) + source.size_bytes + len(tail), headers)


def _send_by(
    method: str,
    source: Source,
    url: str,
    site: Site,
    body: Iterator[bytes],
    length: int,
    headers: dict[str, str],
) -> int:
    all_headers = {"User-Agent": "tesp-worker", "Content-Length": str(length), **headers}
    with Exchange(method, url, all_headers, body) as exchange:
        if method == "PUT" and exchange.response.status in PUT_REFUSED:
            return exchange.response.status
        _require(exchange.response, url, range(200, 300), f"{method} of {source.name}: ")
        return exchange.response.status


def _require(
    response: http.client.HTTPResponse, url: str, wanted: range | tuple[int, ...], what: str = ""
) -> None:
    if response.status in wanted:
        return
    said = f"{what}status {response.status} {response.reason}"
    if response.status >= 500 or response.status in (408, 429):
        raise Passing(said)
    raise StagingError(f"{shown(url)}: {said}")


def _file_body(source: Source, site: Site) -> Iterator[bytes]:
    """The file from its beginning, and exactly as long as was announced."""
    position = 0
    while position < source.size_bytes:
        site.cancellation.check()
        data = os.pread(source.descriptor, min(BUFFER_BYTES, source.size_bytes - position), position)
        if not data:
            raise StagingError(f"{source.name} became shorter while it was sent")
        position += len(data)
        yield data


def _multipart_frame(boundary: str, name: str) -> tuple[bytes, bytes]:
    file_name = quote(name, safe=" !#$&'()+,;=@[]{}~", errors="surrogateescape")
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _multipart_body(head: bytes, content: Iterator[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    yield from content
    yield tail
