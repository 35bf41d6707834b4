"""Directories over HTTP: the index pages that servers make, walked within the URL's own prefix.

Read are the HTML of nginx, Apache and Python, and the JSON of nginx and Caddy. Links that lead out of the
page's directory (parents, other hosts, columns to sort by) are not followed.
"""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from typing import Callable
from urllib.parse import urljoin, urlsplit

from ..errors import StagingError
from ..job import make_directories
from ..parallel import run_together
from ..urls import extend, shown
from . import BUFFER_BYTES, Moved, Site
from .http import FOREIGN, fetch_file, open_followed, place_of, require, telling_login
from .retry import Passing, Refused, try_often

MAX_DEPTH = 64
MOST_FILES = 100_000
PAGE_MAX_BYTES = 32 * 1024 * 1024
TITLES = ("index of", "directory listing")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def fetch_listed(url: str, destination: str, site: Site) -> dict[str, Moved]:
    """Merge what the index pages list into `destination`; returns the files by relative path.

    Raises: StagingError, Canceled.
    """
    files: dict[str, str] = {}
    _walk(url, destination, "", site, files, [])
    moved: dict[str, Moved] = {}

    def call(name: str, there: str) -> Callable[[], None]:
        def fetch() -> None:
            moved[name] = fetch_file(there, os.path.join(destination, name), site, may_move=False)

        return fetch

    calls = [call(name, there) for name, there in files.items()]
    run_together(calls, site.cancellation, site.patience.at_once)
    return {name: moved[name] for name in files}


def _walk(
    url: str, destination: str, below: str, site: Site, files: dict[str, str], directories: list[str]
) -> None:
    """Make the directories, and add what is there to `files` and `directories`.

    Raises: StagingError, Canceled.
    """
    site.cancellation.check()
    if below.count("/") >= MAX_DEPTH:
        raise StagingError(f"{shown(url)}: more than {MAX_DEPTH} directories deep")
    entries = try_often(lambda: list_page(url, site), url, site, FOREIGN)
    for name, is_directory in sorted(entries.items()):
        if len(files) + len(directories) >= MOST_FILES:
            raise StagingError(f"{shown(url)}: more than {MOST_FILES} files and directories")
        there = extend(url, name)
        if is_directory is None:
            site.message(f"Left out {shown(there)}: neither a file nor a directory")
        elif is_directory:
            directories.append(name)
            make_directories(os.path.join(destination, name))
            _walk(there, os.path.join(destination, name), f"{below}{name}/", site, files, directories)
        else:
            files[below + name] = there


def list_page(url: str, site: Site) -> dict[str, bool | None]:
    """The names on an index page and whether they are directories; None for what is neither.

    Raises: Passing, Refused, OSError, HTTPException, Canceled.
    """
    head, sign, query = url.partition("?")
    page = head.partition("#")[0].rstrip("/") + "/" + sign + query
    exchange, here = open_followed(page, {}, site, may_move=False)
    with exchange, telling_login(here, site):
        response = exchange.response
        require(response, (200,))
        kind = response.headers.get_content_type()
        charset = response.headers.get_content_charset() or "utf-8"
        data = b""
        while len(data) <= PAGE_MAX_BYTES:
            site.cancellation.check()
            more = response.read(BUFFER_BYTES)
            if not more:
                break
            data += more
    if response.length:
        raise Passing(f"the index page ended {response.length} bytes early")
    if len(data) > PAGE_MAX_BYTES:
        raise Refused(f"the index page has more than {PAGE_MAX_BYTES} bytes")
    try:
        text = data.decode(charset, "surrogateescape")
    except LookupError:
        text = data.decode("utf-8", "surrogateescape")
    return _named_in_json(text) if kind == "application/json" else _linked(text, here)


def _linked(text: str, here: str) -> dict[str, bool | None]:
    page = _Page()
    page.feed(text)
    page.close()
    scheme, host, port, directory = place_of(here)
    entries: dict[str, bool | None] = {}
    leads_up = False
    for link in page.links:
        try:
            target = urljoin(here, link.replace(";", "%3B"))  # it would drop a semicolon at the end
            there = place_of(target)
        except (ValueError, StagingError):
            continue
        if there[:3] != (scheme, host, port) or (urlsplit(target).query and "?" in link):
            continue
        leads_up = leads_up or (directory.startswith(there[3]) and there[3] != directory)
        if there[3].startswith(directory):
            name = there[3][len(directory) :]
            if _is_name(name[:-1] if name.endswith("/") else name):
                entries.setdefault(name.rstrip("/"), name.endswith("/"))
    if not entries and not leads_up and not any(title in text.lower() for title in TITLES):
        raise Refused("this is no index page, and HTTP knows no other way to list a directory")
    return entries


def _named_in_json(text: str) -> dict[str, bool | None]:
    """nginx: [{name, type: "directory" | "file" | "other"}]; Caddy: [{name, is_dir}]."""
    entries: dict[str, bool | None] = {}
    try:
        for item in json.loads(text):
            name = item["name"]
            is_directory = name.endswith("/") or item.get("is_dir") or item.get("type") == "directory"
            if not _is_name(name.rstrip("/")):
                raise Refused(f"the listing has a name that leads elsewhere: {name!r}")
            is_other = not is_directory and item.get("type", "file") != "file"
            entries[name.rstrip("/")] = None if is_other else bool(is_directory)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused("this JSON is no index: expected are objects with a name and a type") from error
    return entries


def _is_name(name: str) -> bool:
    """Whether it names something in the very directory."""
    return name not in ("", ".", "..") and not any(sign in name for sign in "/\0")
