"""Looks at HTTP servers: HEAD, GET with a range, and the index pages that the transfers read."""

from collections.abc import Mapping
from http.client import HTTPResponse

from tesp_api.storage.looks.seen import DIRECTORY, Missing, Seen
from tesp_api.worker.transfer import Site
from tesp_api.worker.transfer.connection import Exchange
from tesp_api.worker.transfer.http import (
    FOREIGN,
    MISSING,
    open_followed,
    require,
    telling_login,
)
from tesp_api.worker.transfer.http_directory import list_page
from tesp_api.worker.transfer.retry import try_often
from tesp_api.worker.transfer.statements import range_of
from tesp_api.worker.urls import shown

_SKIP_BYTES = 256 * 1024


def stat(url: str, site: Site) -> Seen:
    """Always a file: HTTP knows no directories. The first byte is asked for: not every server has HEAD."""
    return try_often(lambda: _stat(url, site), url, site, FOREIGN)


def read(url: str, offset: int, limit: int, site: Site) -> bytes:
    """Of a server without ranges all that is before `offset` is read and dropped."""
    return try_often(lambda: _read(url, offset, limit, site), url, site, FOREIGN) if limit else b""


def listing(url: str, site: Site) -> Mapping[str, Seen]:
    entries = try_often(lambda: list_page(url, site), url, site, FOREIGN)
    return {
        name: DIRECTORY if is_directory else Seen("file")
        for name, is_directory in entries.items()
        if is_directory is not None
    }


def _stat(url: str, site: Site) -> Seen:
    exchange, here = _open(url, "bytes=0-0", site)
    with exchange, telling_login(here, site):
        response = exchange.response
        if response.status == 416:  # there is no first byte
            return Seen("file", 0)
        require(response, (200, 206))
        if response.status == 206:
            return Seen("file", range_of(response.headers)[1])
        return Seen("file", response.length)


def _read(url: str, offset: int, limit: int, site: Site) -> bytes:
    exchange, here = _open(url, f"bytes={offset}-{offset + limit - 1}", site)
    with exchange, telling_login(here, site):
        response = exchange.response
        if response.status == 416:
            return b""
        require(response, (200, 206))
        before = offset if response.status == 200 else offset - range_of(response.headers)[0]
        while before > 0:
            skipped = _some(response, min(before, _SKIP_BYTES), site)
            if not skipped:
                return b""
            before -= len(skipped)
        data = b""
        while len(data) < limit and (more := _some(response, limit - len(data), site)):
            data += more
        return data


def _open(url: str, wanted: str, site: Site) -> tuple[Exchange, str]:
    exchange, here = open_followed(url, {"Range": wanted}, site)
    if exchange.response.status in MISSING:
        exchange.close()
        raise Missing(f"{shown(url)}: status {exchange.response.status}")
    return exchange, here


def _some(response: HTTPResponse, limit: int, site: Site) -> bytes:
    site.cancellation.check()
    return response.read(limit)
