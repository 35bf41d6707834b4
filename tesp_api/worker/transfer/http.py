"""Transfers over HTTP and HTTPS: GET with redirects; PUT, or a multipart POST where PUT is refused."""

from __future__ import annotations

import contextlib
import http.client
import secrets
from typing import Iterable, Iterator
from urllib.parse import quote, unquote, urljoin

from ..errors import StagingError
from ..urls import http_origin, scheme_of, shown
from . import BUFFER_BYTES, Moved, Site, Source
from .connection import Exchange
from .logins import cleaned, headers_for, in_words
from .moving import Partial, Reading, digest_of
from .retry import Denied, Passing, Refused, try_often
from .statements import asked_pause_s, claims_of, range_of, validator_of

MAX_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
REDIRECTS_OF_PUT = (307, 308)
PUT_REFUSED = (405, 501)
PASSING = (408, 425, 429)
LASTING = (501, 505)
DENIED = (401, 403)
MISSING = (404, 410)
FOREIGN = (http.client.HTTPException,)


def fetch_file(url: str, destination: str, site: Site, may_move: bool = True) -> Moved:
    """Only with `may_move` are redirects followed to another place."""
    with Partial(url, destination, site) as part:
        return try_often(lambda: _get(url, part, site, may_move), url, site, FOREIGN, lambda: part.furthest)


def fetch_directory(url: str, destination: str, site: Site) -> dict[str, Moved]:
    from .http_directory import fetch_listed

    return fetch_listed(url, destination, site)


def send_file(source: Source, url: str, site: Site) -> Moved:
    return try_often(lambda: _send(source, url, site), url, site, FOREIGN)


def make_directory(url: str, site: Site) -> None:
    site.message(f"Left out {shown(url)}: an empty directory, and HTTP has no directories")


def is_in_place(url: str, host_path: str, site: Site) -> bool:
    return False


def open_followed(
    url: str, headers: dict[str, str], site: Site, may_move: bool = True
) -> tuple[Exchange, str]:
    """GET through redirects; the exchange to read and close, and the URL that it came from.

    Without `may_move`, only redirects to another spelling of the same place are followed.

    Raises: Refused, OSError, HTTPException.
    """
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        with _telling_of(url, here), telling_login(here, site):
            own = {**headers_for(here, site), **headers}
            exchange = Exchange("GET", here, own, site.patience.stall_s, guard=site.guard)
            if exchange.response.status not in REDIRECTS:
                return exchange, here
            here = _redirected(here, exchange)
        if not may_move and place_of(here) != place_of(url):
            raise Refused(f"redirected out of the directory, to {shown(here)}")
    raise Refused(f"more than {MAX_REDIRECTS} redirects")


def place_of(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and decoded path: without what may differ in two names of one place."""
    origin = http_origin(url)
    path = unquote(origin.target.partition("?")[0], errors="surrogateescape")
    return origin.scheme, origin.host, origin.port, path


@contextlib.contextmanager
def _telling_of(url: str, here: str) -> Iterator[None]:
    """Name in a refusal of `here` the URL that was redirected there."""
    try:
        yield
    except StagingError as error:
        raise error if here == url else StagingError(f"{shown(url)} is redirected to {error}") from None


@contextlib.contextmanager
def telling_login(url: str, site: Site) -> Iterator[None]:
    """Say of what is denied in here which login was used, and nothing of what is in it."""
    try:
        yield
    except (Passing, Refused, StagingError, *FOREIGN) as error:
        which = f", {in_words(url, site)}" if isinstance(error, Denied) else ""
        error.args = (cleaned(str(error), url, site) + which,)
        raise


def _redirected(here: str, exchange: Exchange) -> str:
    location = urljoin(here, exchange.response.headers.get("Location", ""))
    exchange.close()
    if scheme_of(location) not in ("http", "https"):
        raise Refused(f"redirected to {shown(location)!r}, which is not followed")
    return location


def require(response: http.client.HTTPResponse, wanted: Iterable[int], what: str = "") -> None:
    """Raises: Passing, Refused for a status that is not wanted."""
    status = response.status
    if status in wanted:
        return
    said = f"{what}status {status} {response.reason}".rstrip()
    if status in PASSING or (status >= 500 and status not in LASTING):
        raise Passing(said, asked_pause_s(response.headers))
    raise Denied(said) if status in DENIED else Refused(said)


def _get(url: str, part: Partial, site: Site, may_move: bool) -> Moved:
    """One try: what follows the bytes that are there, if they can be proved to be of the same version."""
    asked = {}
    if part.size_bytes and part.validator:
        asked = {"Range": f"bytes={part.size_bytes}-", "If-Range": part.validator}
    exchange, here = open_followed(url, asked, site, may_move)
    with exchange, telling_login(here, site):
        response = exchange.response
        if asked and response.status == 206:
            require_same(response, part)
        elif asked and response.status == 416:
            part.restart()
            raise Passing("status 416: it is shorter than it was")
        else:
            require(response, (200,))
            length = response.length
            part.restart(validator_of(response.headers), length, claims_of(response.headers))
            if length is None and not response.chunked:
                site.message(f"{shown(url)}: the server does not say how long it is, so this was not checked")
        receive(response, part, site)
        return part.finish()


def require_same(response: http.client.HTTPResponse, part: Partial) -> None:
    """Raises: Passing if the answer is not the rest of what is there, which is forgotten then."""
    start, total = range_of(response.headers)
    validator = validator_of(response.headers)
    is_other = part.total is not None and total is not None and part.total != total
    if start != part.size_bytes or is_other or validator not in ("", part.validator):
        part.restart()
        raise Passing("the server sent the rest of another version")
    part.total = total if total is not None else part.total


def receive(response: http.client.HTTPResponse, part: Partial, site: Site) -> None:
    """Read to the end that was announced: on a connection that stays open nothing follows."""
    left = response.length
    while left is None or left > 0:
        site.cancellation.check()
        try:
            data = response.read1(BUFFER_BYTES if left is None else min(BUFFER_BYTES, left))
        except http.client.IncompleteRead:
            raise Passing("the connection ended before the last chunk") from None
        if not data:
            return
        part.write(data)
        left = None if left is None else left - len(data)


def _send(source: Source, url: str, site: Site) -> Moved:
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        body = Reading(source, site, *(["md5"] if _is_presigned(here) else []))
        with _telling_of(url, here), telling_login(here, site):
            headers = {**headers_for(here, site), "Content-Length": str(source.size_bytes)}
            exchange = Exchange("PUT", here, headers, site.patience.stall_s, body, guard=site.guard)
        with exchange, telling_login(here, site):
            response = exchange.response
            if response.status in REDIRECTS_OF_PUT:
                here = _redirected(here, exchange)
                continue
            if response.status in PUT_REFUSED:
                return _post(source, here, site, f"PUT: status {response.status}; ")
            require(response, range(200, 300), f"PUT of {source.name}: ")
            moved = body.finish()
            if _is_presigned(here):
                _check_etag(response, body)
                return moved
        _check_stored(here, moved, source, site)
        return moved
    raise Refused(f"more than {MAX_REDIRECTS} redirects")


def _post(source: Source, url: str, site: Site, before: str) -> Moved:
    boundary = secrets.token_hex(16)
    head, tail = _multipart_frame(boundary, source.name)
    headers = {
        **headers_for(url, site),
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + source.size_bytes + len(tail)),
    }
    body = Reading(source, site)
    framed = _multipart_body(head, body, tail)
    with Exchange("POST", url, headers, site.patience.stall_s, framed, guard=site.guard) as exchange:
        require(exchange.response, range(200, 300), f"{before}POST of {source.name}: ")
        return body.finish()


def _is_presigned(url: str) -> bool:
    """Whether this is S3's, where the ETag of a single PUT is its MD5."""
    return "X-Amz-Signature=" in url


def _check_etag(response: http.client.HTTPResponse, body: Reading) -> None:
    """Raises: Passing if S3 has received something else. With keys of its own the ETag is no MD5."""
    etag = response.headers.get("ETag", "").strip('"').lower()
    is_other = response.headers.get("x-amz-server-side-encryption", "AES256") != "AES256" or any(
        name.lower().startswith("x-amz-server-side-encryption-") for name in response.headers
    )
    if len(etag) == 32 and not is_other and etag != body.digest("md5"):
        raise Passing(f"the server has stored something else: its MD5 is {etag}, not {body.digest('md5')}")


def _check_stored(url: str, moved: Moved, source: Source, site: Site) -> None:
    """Raises: Passing if the server says that it has stored something else, or nothing. Many do not say."""
    own = headers_for(url, site)
    is_told = False
    silent = contextlib.suppress(OSError, http.client.HTTPException)
    with silent, Exchange("HEAD", url, own, site.patience.stall_s, guard=site.guard) as exchange:
        headers = exchange.response.headers
        if exchange.response.status in MISSING:
            raise Passing(
                f"the server took it by PUT, and then has no such file: status {exchange.response.status}"
            )
        size = headers.get("Content-Length", "")
        is_told = exchange.response.status == 200 and size.isdigit() and not headers.get("Content-Encoding")
        if is_told and int(size) != moved.size_bytes:
            raise Passing(f"the server has stored {size} of {moved.size_bytes} bytes")
    for claim in claims_of(headers, of_head=True) if is_told else ():
        found = moved.sha256 if claim.hash_name == "sha256" else digest_of(source, claim.hash_name, site)
        if found != claim.digest.hex():
            said = f"its {claim.hash_name} is {claim.digest.hex()}, not {found}"
            raise Passing(f"the server has stored something else: {said}")


def _multipart_frame(boundary: str, name: str) -> tuple[bytes, bytes]:
    file_name = quote(name, safe=" !#$&'()+,;=@[]{}~", errors="surrogateescape")
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _multipart_body(head: bytes, content: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    yield from content
    yield tail
