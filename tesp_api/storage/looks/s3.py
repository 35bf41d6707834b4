"""Looks at S3: objects, and the directories that keys with slashes stand for."""

from collections.abc import Iterator, Mapping
from urllib.parse import unquote_plus

from tesp_api.storage.looks.seen import DIRECTORY, Missing, Seen
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer import Site
from tesp_api.worker.transfer.connection import Exchange
from tesp_api.worker.transfer.lending import Ask
from tesp_api.worker.transfer.retry import Refused, try_often
from tesp_api.worker.transfer.s3_answers import FOREIGN, Node, fields_of, read_document, require
from tesp_api.worker.transfer.s3_listing import MOST_FILES, prefix_of, read_page
from tesp_api.worker.urls import shown, split_s3

_NOT_FOUND = 404
_PAST_THE_END = 416


def stat(url: str, site: Site) -> Seen:
    """An object; else a directory, if there is a key below."""
    if split_s3(url)[1].rstrip("/"):
        found = try_often(lambda: _head(url.rstrip("/"), site), url, site, FOREIGN)
        if found is not None:
            return found
    entries, _ = try_often(lambda: _page(url, "", "1", site), url, site, FOREIGN)
    if not entries:
        raise Missing(f"{shown(url)}: there is neither such a key nor one below it")
    return DIRECTORY


def read(url: str, offset: int, limit: int, site: Site) -> bytes:
    return try_often(lambda: _read(url, offset, limit, site), url, site, FOREIGN) if limit else b""


def listing(url: str, site: Site) -> Mapping[str, Seen]:
    found: dict[str, Seen] = {}
    token, is_there = "", False
    while True:
        entries, following = try_often(lambda token=token: _page(url, token, "", site), url, site, FOREIGN)  # type: ignore[misc]
        is_there = is_there or bool(entries)
        found |= {name.rstrip("/"): seen for name, seen in entries.items() if name.strip("/")}
        if len(found) > MOST_FILES:
            raise StagingError(f"{shown(url)}: more than {MOST_FILES} files and directories")
        if not following:
            break
        if following == token:
            raise StagingError(f"{shown(url)}: the list does not end: the same token came twice")
        token = following
    if not is_there:
        raise Missing(f"{shown(url)}: there is no such directory")
    return found


def _head(url: str, site: Site) -> Seen | None:
    signed = site.lender.sign([Ask("head", url)])[0]
    stall_s = site.patience.stall_s
    with Exchange(signed.method, signed.url, signed.headers, stall_s, guard=site.guard) as exchange:
        if exchange.response.status == _NOT_FOUND:
            return None
        require(exchange, (200,), site, fields_of(signed), "HEAD: ")
        size = exchange.response.headers.get("Content-Length", "")
    return Seen("file", int(size) if size.isdigit() else None)


def _read(url: str, offset: int, limit: int, site: Site) -> bytes:
    signed = site.lender.sign([Ask("get", url)])[0]
    headers = {**signed.headers, "Range": f"bytes={offset}-{offset + limit - 1}"}
    with Exchange(signed.method, signed.url, headers, site.patience.stall_s, guard=site.guard) as exchange:
        response = exchange.response
        if response.status == _NOT_FOUND:
            raise Missing(f"{shown(url)}: there is no such key")
        if response.status == _PAST_THE_END:
            return b""
        require(exchange, (206,), site, fields_of(signed))
        data = b""
        while len(data) < limit and (more := response.read(limit - len(data))):
            site.cancellation.check()
            data += more
        return data


def _page(url: str, token: str, most: str, site: Site) -> tuple[dict[str, Seen], str]:
    """Some of what is directly below, and how to ask for more. Raises: Passing, Refused, OSError, ..."""
    parameters = {"prefix": prefix_of(url), "delimiter": "/"}
    parameters |= {"continuation-token": token} if token else {}
    parameters |= {"max-keys": most} if most else {}
    signed = site.lender.sign([Ask("list", url, parameters)])[0]
    stall_s = site.patience.stall_s
    with Exchange(signed.method, signed.url, signed.headers, stall_s, guard=site.guard) as exchange:
        require(exchange, (200,), site, fields_of(signed))
        document = read_document(exchange.response, site, "ListBucketResult")
    page = read_page(document, prefix_of(url))
    seen = {name: Seen("file", size) for name, size in page.sizes.items() if name}
    seen |= dict.fromkeys(_directories(document, prefix_of(url)), DIRECTORY)
    if "" in page.sizes:  # the directory itself, kept as an empty object
        seen[""] = DIRECTORY
    if any("/" in name.rstrip("/") for name in seen):
        raise Refused("the list has keys that were not asked for")
    return seen, "" if most else page.token


def _directories(document: Node, prefix: str) -> Iterator[str]:
    """The names directly below `prefix` that end with a slash."""
    is_encoded = document.said("EncodingType") == "url"
    for item in document.all("CommonPrefixes"):
        found = item.said("Prefix")
        found = unquote_plus(found, errors="surrogateescape") if is_encoded else found
        if not found.startswith(prefix):
            raise Refused(f"the list has {found[:500]!r}, which is not below {prefix!r}")
        yield found[len(prefix) :]
