"""Directories in S3, which has none: the keys below a prefix, and what they would be as files.

A key that ends with a slash stands for a directory: so are empty ones kept.
"""

from __future__ import annotations

from typing import Iterable, Iterator, NamedTuple
from urllib.parse import unquote_plus

from ..errors import StagingError
from ..urls import shown, split_s3
from . import Site
from .connection import Exchange
from .lending import Ask
from .retry import Refused, try_often
from .s3_answers import FOREIGN, Node, fields_of, read_document, require

MOST_FILES = 100_000


class Page(NamedTuple):
    """Some of the keys with their sizes, and the token to ask for those that follow; "" for the last page."""

    sizes: dict[str, int]
    token: str


class Tree(NamedTuple):
    """Relative paths; every parent of a file is among the directories."""

    files: list[str]
    directories: list[str]


def list_names(url: str, site: Site) -> Iterator[tuple[str, int]]:
    """The names below the directory, and their sizes. Raises: StagingError, Canceled."""
    token = ""
    while True:
        page = try_often(lambda token=token: _page(url, token, site), url, site, FOREIGN)  # type: ignore[misc]
        yield from page.sizes.items()
        if not page.token:
            return
        if page.token == token:
            raise StagingError(f"{shown(url)}: the list does not end: the same token came twice")
        token = page.token


def prefix_of(url: str) -> str:
    """With what all keys below begin; "" for those of a whole bucket."""
    key = split_s3(url)[1].rstrip("/")
    return f"{key}/" if key else ""


def _page(url: str, token: str, site: Site) -> Page:
    """Raises: Passing, Refused, OSError, HTTPException, StagingError, Canceled."""
    parameters = {"prefix": prefix_of(url), **({"continuation-token": token} if token else {})}
    signed = site.lender.sign([Ask("list", url, parameters)])[0]
    with Exchange(
        signed.method, signed.url, signed.headers, site.patience.stall_s, guard=site.guard
    ) as exchange:
        require(exchange, (200,), site, fields_of(signed))
        return read_page(read_document(exchange.response, site, "ListBucketResult"), prefix_of(url))


def read_page(document: Node, prefix: str) -> Page:
    """Raises: Refused for a list of something else."""
    is_encoded = document.said("EncodingType") == "url"
    sizes = {}
    for item in document.all("Contents"):
        key = item.said("Key")
        key = unquote_plus(key, errors="surrogateescape") if is_encoded else key
        if not key.startswith(prefix):
            raise Refused(f"the list has the key {key[:500]!r}, which is not below {prefix!r}")
        size = item.said("Size")
        sizes[key[len(prefix) :]] = int(size) if size.isdigit() else 0
    token = document.said("NextContinuationToken") if document.said("IsTruncated") == "true" else ""
    if document.said("IsTruncated") == "true" and not token:
        raise Refused("the list is cut off, and does not say how to go on")
    return Page(sizes, token)


def plant(url: str, names: Iterable[tuple[str, int]], site: Site) -> Tree:
    """The files and directories that the names stand for.

    Raises: StagingError if there are none, or if they cannot all be in one place of a disk.
    """
    files: list[str] = []
    directories: set[str] = set()
    is_there = False
    for name, size_bytes in names:
        is_there = True
        if not name:
            continue
        if not _is_path(name):
            raise StagingError(f"{shown(url)}: the key ending in {name[:500]!r} cannot be a file's name")
        parts = name.rstrip("/").split("/")
        directories.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if name.endswith("/"):
            directories.add("/".join(parts))
            if size_bytes:
                site.message(f"Left out the {size_bytes} bytes of {shown(url)}/{name}: it names a directory")
        else:
            files.append(name)
        if len(files) > MOST_FILES or len(directories) > MOST_FILES:
            raise StagingError(f"{shown(url)}: more than {MOST_FILES} files or directories")
    for name in files:
        if name in directories:
            raise StagingError(f"{shown(url)}: {name[:500]!r} is a file and a directory at once")
    if not is_there:
        raise StagingError(f"{shown(url)}: there is no such directory: no key begins with {prefix_of(url)!r}")
    return Tree(files, sorted(directories))


def _is_path(name: str) -> bool:
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    return "\0" not in name and not any(part in ("", ".", "..") for part in parts)
