"""The working directory: the files of the request, and stand-ins for those that lie elsewhere.

A stand-in has the size of its file and no permissions. Who opens it gets the file, which is fetched then, or
is told that it is too large for that (`FETCH_MAX_BYTES`). Where the room gets short, those that were opened
first become stand-ins again.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from ...inside.channel import READ_BYTES, Channel

FETCH_MAX_BYTES = 16 * 1024 * 1024
AT_ONCE_MAX_BYTES = 1024 * 1024
"""Attachments up to this size are fetched in the beginning: Snakemake's own files, scripts, tables."""

AT_ONCE_TOTAL_BYTES = 32 * 1024 * 1024
_SPARE_BYTES = 8 * 1024 * 1024
"""Left for what Snakemake itself writes."""

_ARRIVING = ".snakemake/arriving"


def absolute(path: str) -> str:
    """The path from the root on; links are not followed, since a task would not find where they lead."""
    return os.path.abspath(path)  # noqa: PTH100


class Outside(ValueError):
    """A path that does not lie in the working directory."""


@dataclass(frozen=True)
class Place:
    """Where a file lies, and what tells it from others: "" if only the server can say.

    `checksums` are those that are known, in hexadecimal digits, by their algorithm.
    """

    url: str
    size_bytes: int | None
    identity: str = ""
    is_attached: bool = False
    checksums: Mapping[str, str] = field(default_factory=dict)


class Workspace:
    """Below `root`. Paths are absolute, or relative to where a Snakefile has gone (`workdir:`).

    May be used from several threads.
    """

    def __init__(self, server: Channel, work_url: str, root: str) -> None:
        self.root = root
        self._server = server
        self._attachments_url = f"{work_url}attachments/"
        self._results_url = f"{work_url}workdir/"
        self._places: dict[str, Place] = {}
        self._folders: dict[str, Place] = {}
        self._identities: dict[str, str] = {}
        self._began_ns = time.time_ns()
        self._fetching = threading.RLock()
        self._fetched: dict[str, tuple[int, int]] = {}
        """What was opened, oldest first, with its inode and time: who has written to it keeps it."""

    def load_attachments(self) -> None:
        """Put what came with the request where it belongs. Raises: Refused."""
        total_bytes = 0
        try:
            found = sorted(self._walk(self._attachments_url))
        except FileNotFoundError:
            return
        for url, size_bytes in found:
            path = f"{self.root}/{path_below(self._attachments_url, url)}"
            self.add(path, Place(url, size_bytes, is_attached=True))
            total_bytes += size_bytes or 0
            if (size_bytes or 0) <= AT_ONCE_MAX_BYTES and total_bytes <= AT_ONCE_TOTAL_BYTES:
                self._fetch(path)  # for good: Python does not open modules by `open`

    def load_from(self, url: str, path: str) -> None:
        """Stand for a file that is elsewhere, or for each file in a directory. Raises: OSError, Refused."""
        kind, size_bytes = self._server.stat(url)
        if kind == "file":
            self.add(path, Place(url, size_bytes))
            return
        folder = f"{url.rstrip('/')}/"
        below = {path_below(folder, one): (one, size) for one, size in self._walk(folder)}
        told = sorted((name, size) for name, (_, size) in below.items())
        self.add_folder(path, Place(folder, None, f"{folder} {told}"), {})
        for name, (one, size) in below.items():
            self.add(f"{path}/{name}", Place(one, size))

    def add(self, path: str, place: Place) -> None:
        """Make a stand-in for a file."""
        target = Path(path)
        path = self.relative(path)
        self._fetched.pop(path, None)
        _remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(0o600)
        if place.size_bytes:
            os.truncate(target, place.size_bytes)
        if place.size_bytes != 0:
            target.chmod(0)
        if place.is_attached:  # all of the same age, lest one seems to be made from a newer one
            os.utime(target, ns=(self._began_ns, self._began_ns))
        self._places[path] = place

    def add_folder(self, path: str, place: Place, files: dict[str, Place]) -> None:
        """Make a directory with stand-ins for what is in it, which has replaced what was there."""
        for earlier in self.files_below(path):
            del self._places[self.relative(earlier)]
            self._fetched.pop(self.relative(earlier), None)
        self._folders[self.relative(path)] = place
        _remove(Path(path))
        Path(path).mkdir(parents=True)
        for name, one in files.items():
            self.add(f"{path}/{name}", one)

    def add_text(self, path: str, text: str) -> str:
        """Make a file of this run; returns its URL. Raises: Refused."""
        url = self.result_url(path)
        self._server.write(url, text.encode())
        self.add(path, Place(url, len(text.encode())))
        return url

    def fetch(self, path: str) -> None:
        """Get the content of a stand-in; does nothing for any other file. Raises: OSError, Refused."""
        with self._fetching:
            if self._fetch(path):
                status = os.lstat(path)
                self._fetched[self.relative(path)] = (status.st_ino, status.st_mtime_ns)

    def _fetch(self, path: str) -> bool:
        """Whether there was something to fetch; the content appears whole."""
        try:
            known = self._places.get(self.relative(path))
            status = os.lstat(path)
        except (OSError, ValueError):
            return False
        if known is None or not stat.S_ISREG(status.st_mode) or status.st_mode & 0o777:
            return False
        content = self._content(known, path)
        self._make_room(len(content))
        self._replace(Path(path), content, len(content), 0o600, status)
        return True

    def _make_room(self, size_bytes: int) -> None:
        for path, told in list(self._fetched.items()):
            if _free_bytes(self.root) >= size_bytes + _SPARE_BYTES:
                return
            del self._fetched[path]
            file = Path(self.root, path)
            status = file.lstat()
            if (status.st_ino, status.st_mtime_ns) == told:
                self._replace(file, b"", status.st_size, 0, status)

    def _replace(
        self, file: Path, content: bytes, size_bytes: int, mode: int, status: os.stat_result
    ) -> None:
        """Put another file in the place of one, as old as that."""
        arriving = Path(self.root, _ARRIVING)
        arriving.parent.mkdir(exist_ok=True)
        try:
            arriving.write_bytes(content)
            os.truncate(arriving, size_bytes)
            arriving.chmod(mode)
            os.utime(arriving, ns=(status.st_atime_ns, status.st_mtime_ns))
            arriving.replace(file)
        finally:
            arriving.unlink(missing_ok=True)

    def place(self, path: str) -> Place | None:
        """Of a file; None if there is none that tasks could get. Raises: Outside."""
        return self._places.get(self.relative(path))

    def folder(self, path: str) -> Place | None:
        """Of a directory that lies in one piece. Raises: Outside."""
        return self._folders.get(self.relative(path))

    def files_below(self, path: str) -> list[str]:
        """The paths of all files in a directory, absolute. Raises: Outside."""
        above = f"{self.relative(path)}/"
        return sorted(f"{self.root}/{one}" for one in self._places if one.startswith(above))

    def attachments(self) -> Iterator[str]:
        """The paths of what came with the request, absolute."""
        return (f"{self.root}/{path}" for path, place in self._places.items() if place.is_attached)

    def identity(self, place: Place) -> str:
        """What is at a place, told in such a way that the same content is told the same. Raises: Refused."""
        if place.identity:
            return place.identity
        if place.url not in self._identities:
            told = self._server.fingerprint(place.url) if place.is_attached else ""
            self._identities[place.url] = told or f"{place.url} {place.size_bytes}"
        return self._identities[place.url]

    def result_url(self, path: str) -> str:
        """Where a job leaves a file of this path. Raises: Outside."""
        return _below(self._results_url, self.relative(path))

    def relative(self, path: str) -> str:
        """The path as it is below the root. Raises: Outside."""
        found = os.path.relpath(absolute(path), self.root)
        if found == ".." or found.startswith("../"):
            raise Outside(f"{path} lies outside of the working directory")
        return found

    def _content(self, place: Place, path: str) -> bytes:
        """All of a file. Raises: OSError if it is too large, or other than it was; Refused."""
        size_bytes = place.size_bytes  # None where its server does not tell
        data = bytearray()
        if size_bytes is None or size_bytes <= FETCH_MAX_BYTES:
            wanted = FETCH_MAX_BYTES + 1 if size_bytes is None else size_bytes
            while len(data) < wanted and (more := self._server.read(place.url, len(data), READ_BYTES)):
                data += more
        if max(size_bytes or 0, len(data)) > FETCH_MAX_BYTES:
            raise PermissionError(
                13, f"a Snakefile may read files of up to {FETCH_MAX_BYTES} bytes, not larger ones", path
            )
        if size_bytes not in (None, len(data)):
            raise OSError(errno.EIO, "its size is no longer the one that it had", path)
        return bytes(data)

    def _walk(self, folder: str) -> Iterator[tuple[str, int | None]]:
        """URL and size of all files below a directory. Raises: FileNotFoundError, Refused."""
        for url, kind, size_bytes in self._server.listing(folder):
            if kind == "directory":
                yield from self._walk(f"{url.rstrip('/')}/")
            else:
                yield url, size_bytes


def _free_bytes(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _below(folder: str, path: str) -> str:
    """URLs of S3 are letter by letter, others are percent-encoded."""
    return folder + (path if folder.startswith("s3://") else quote(path, errors="surrogateescape"))


def path_below(folder: str, url: str) -> str:
    """The path of what is in a folder, by their URLs."""
    path = url[len(folder) :]
    return path if folder.startswith("s3://") else unquote(path, errors="surrogateescape")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
