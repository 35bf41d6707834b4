"""Files as cwltool sees them: by URL, each of them asked for over the channel.

URLs are percent-encoded in here, as CWL wants them; those of S3 travel letter by letter.
"""

from __future__ import annotations

import fnmatch
import io
import posixpath
import re
from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from cwltool.stdfsaccess import StdFsAccess
from schema_salad.exceptions import ValidationException
from schema_salad.fetcher import MemoryCachingFetcher

from .server import Refused, Server

SCHEMES = ("file", "http", "https", "ftp", "ftps", "s3")
DOCUMENT_MAX_BYTES = 64 * 1024 * 1024
_MAGIC = re.compile(r"[*?[]")


def is_url(text: str) -> bool:
    """Whether it is absolute, and of a scheme that the server may know."""
    return urlsplit(text).scheme in SCHEMES


def encoded(url: str) -> str:
    """A URL of the server as it is in here."""
    return f"s3://{quote(url[5:])}" if url.startswith("s3://") else url


def plain(url: str) -> str:
    """A URL of in here as the server takes it."""
    url = url.partition("#")[0]
    return f"s3://{unquote(url[5:])}" if url.startswith("s3://") else url


class RunFiles:
    """What the run may see. What was there once stays as it is while the run goes on, so it is remembered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[str, tuple[str, int | None]] = {}
        self._sha1: dict[str, str] = {}
        self._listings: dict[str, list[str]] = {}
        self._steps: dict[str, str] = {}
        self._identities: dict[str, str] = {}

    def add_step(self, folder: str, key: str, outputs: Mapping[str, tuple[int, str]]) -> None:
        """Tell of the folder of a step that has ended, and of the size and SHA-1 of files in it."""
        self._steps[folder] = key
        for url, (size_bytes, sha1) in outputs.items():
            self._known[url] = ("file", size_bytes)
            if sha1:
                self._sha1[url] = sha1

    def sha1(self, url: str) -> str | None:
        """The SHA-1 of a file, if its step's task has told it."""
        return self._sha1.get(url)

    def identity(self, url: str) -> str:
        """What tells an input from others, in this run and in one that resumes it.

        That is its content, as far as it is known without moving it: by its SHA-1, by the step that made it,
        for what came with the request by what the server says; else its URL and size.

        Raises:
            FileNotFoundError, Refused
        """
        url = url.rstrip("/")
        if url in self._sha1:
            return self._sha1[url]
        folder = next(iter(_above(url) & self._steps.keys()), None)
        if folder is not None:
            return f"{self._steps[folder]}{url[len(folder) :]}"
        if url not in self._identities:
            self._identities[url] = self._server.fingerprint(plain(url)) or f"{url} {self.stat(url)[1]}"
        return self._identities[url]

    def stat(self, url: str) -> tuple[str, int | None]:
        """Kind and size. Raises: FileNotFoundError, Refused."""
        url = url.rstrip("/")
        if url not in self._known:
            self._known[url] = self._server.stat(plain(url))
        return self._known[url]

    def listing(self, url: str) -> list[str]:
        """The URLs of what is directly in a directory. Raises: FileNotFoundError, Refused."""
        url = url.rstrip("/")
        if url not in self._listings:
            found = [
                (encoded(one).rstrip("/"), kind, size) for one, kind, size in self._server.listing(plain(url))
            ]
            for one, kind, size in found:
                self._known.setdefault(one, (kind, size))
            self._listings[url] = [one for one, _, _ in found]
        return self._listings[url]

    def read(self, url: str, limit: int | None = None) -> bytes:
        """All of a file, or its beginning. Raises: FileNotFoundError, Refused."""
        data = b""
        wanted = DOCUMENT_MAX_BYTES + 1 if limit is None else limit
        while len(data) < wanted:
            more = self._server.read(plain(url), len(data), wanted - len(data))
            if not more:
                return data
            data += more
        if limit is None:
            raise Refused(f"{url}: larger than {DOCUMENT_MAX_BYTES} bytes")
        return data

    def write(self, url: str, data: bytes) -> None:
        """Raises: Refused."""
        self._server.write(plain(url), data)


def _above(url: str) -> set[str]:
    """The URL, and every directory that it is below."""
    found = {url}
    while "://" in (url := url.rpartition("/")[0]):
        found.add(url)
    return found


class UrlFsAccess(StdFsAccess):
    """cwltool's way to files, over the channel; `basedir` is a URL."""

    def __init__(self, basedir: str, *, files: RunFiles) -> None:
        super().__init__(basedir)
        self._files = files

    def glob(self, pattern: str) -> list[str]:
        """The URLs that a pattern matches; what follows `basedir` in it is not percent-encoded."""
        base = self.basedir.rstrip("/")
        if pattern.rstrip("/") == base:
            return [base]
        found = [base]
        for part in _parts(pattern.removeprefix(f"{base}/")):
            found = [one for folder in found for one in self._matching(folder, part)]
        return [one for one in found if self.exists(one)]

    def open(self, fn: str, mode: str) -> IO[Any]:
        """Read as much as is asked for. Raises: FileNotFoundError, Refused."""
        url = self._url(fn)
        if "b" not in mode:
            return io.StringIO(self._files.read(url).decode("utf-8"))
        return io.BufferedReader(_Reading(self._files, url), buffer_size=128 * 1024)

    def exists(self, fn: str) -> bool:
        return self._kind(fn) is not None

    def isfile(self, fn: str) -> bool:
        return self._kind(fn) == "file"

    def isdir(self, fn: str) -> bool:
        return self._kind(fn) == "directory"

    def size(self, fn: str) -> int:
        size_bytes = self._files.stat(self._url(fn))[1]
        if size_bytes is None:
            raise OSError(f"the size of {fn} is not known")
        return size_bytes

    def listdir(self, fn: str) -> list[str]:
        return self._files.listing(self._url(fn))

    def join(self, path: str, *paths: str) -> str:
        for one in paths:
            path = one if is_url(one) else posixpath.join(path, one)
        return path

    def realpath(self, path: str) -> str:
        return path

    def _url(self, name: str) -> str:
        return name if is_url(name) else posixpath.join(self.basedir, name)

    def _kind(self, name: str) -> str | None:
        if name.startswith("_:"):
            return None
        try:
            return self._files.stat(self._url(name))[0]
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _matching(self, folder: str, part: str) -> list[str]:
        if not _MAGIC.search(part):
            return [f"{folder}/{quote(part)}"]
        if self._kind(folder) != "directory":
            return []
        names = {one: unquote(one.rpartition("/")[2]) for one in self._files.listing(folder)}
        return [
            one
            for one, name in sorted(names.items())
            if fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
        ]


class _Reading(io.RawIOBase):
    """A file that is read from its beginning."""

    def __init__(self, files: RunFiles, url: str) -> None:
        super().__init__()
        self._files, self._url, self._offset = files, url, 0
        files.stat(url)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._files._server.read(plain(self._url), self._offset, len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)


def _parts(pattern: str) -> list[str]:
    """Raises: OSError for a pattern that leads out of the directory."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(f"the pattern {pattern!r} leads out of the output directory")
    return parts


class UrlFetcher(MemoryCachingFetcher):
    """How schema-salad gets documents: what it does not have comes over the channel."""

    schemes = [*SCHEMES, "mailto"]  # noqa: RUF012

    def __init__(self, cache: Any, session: Any = None, *, files: RunFiles) -> None:
        super().__init__(cache)
        self._files = files

    def fetch_text(self, url: str, content_types: list[str] | None = None) -> str:
        """Raises: ValidationException if it cannot be had."""
        kept = self.cache.get(url)
        if isinstance(kept, str):
            return kept
        try:
            return self._files.read(url).decode("utf-8")
        except (OSError, Refused, UnicodeDecodeError) as error:
            raise ValidationException(
                f"Error fetching {url}: {getattr(error, 'strerror', None) or error}"
            ) from error

    def check_exists(self, url: str) -> bool:
        if url in self.cache or url.startswith("mailto:"):
            return True
        try:
            self._files.stat(url)
            return True
        except (OSError, Refused):
            return False

    def urljoin(self, base_url: str, url: str) -> str:
        if url.startswith("_:") or is_url(url):
            return url
        if base_url.startswith("s3://"):  # which urllib does not know as one that has paths
            return "s3" + urljoin(f"http{base_url[2:]}", url).removeprefix("http")
        return urljoin(base_url, url)
