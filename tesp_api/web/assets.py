"""The dashboard's files. They are small, so they are read and packed once and kept in memory."""

import gzip
import hashlib
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

INDEX = "index.html"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """A file as browsers get it, plain and packed by gzip."""

    media_type: str
    data: bytes
    packed: bytes


class Assets(NamedTuple):
    """All files but the page itself, by their names, and one hash of all of them: the folder's name in URLs.

    One hash for all, since modules name each other by relative paths: what is in one folder fits together,
    and none of it ever changes.
    """

    version: str
    page: str
    files: dict[str, Asset]


@lru_cache(maxsize=1)
def load_assets() -> Assets:
    """Read all of them."""
    found = dict(sorted(_walk(files("tesp_api.web") / "static")))
    page = found.pop(INDEX).decode()
    digest = hashlib.sha256()
    for name, data in found.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return Assets(
        digest.hexdigest()[:16],
        page,
        {name: Asset(_media_type(name), data, gzip.compress(data, mtime=0)) for name, data in found.items()},
    )


def _walk(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for one in folder.iterdir():
        if one.is_dir():
            found += _walk(one, f"{prefix}{one.name}/")
        elif one.name == INDEX or _suffix(one.name) in _MEDIA_TYPES:
            found.append((prefix + one.name, one.read_bytes()))
    return found


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _media_type(name: str) -> str:
    return _MEDIA_TYPES[_suffix(name)]
