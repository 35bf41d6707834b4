"""Bytes on their way: counted and hashed as they pass, so that nothing is read twice."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Iterator, NamedTuple

from ..errors import SourceChanged, StagingError
from ..job import write_all
from ..urls import shown
from . import BUFFER_BYTES, Moved, Site, Source
from .retry import Passing


def new_hash(name: str) -> Any:
    """A hash of `hashlib`, also on machines that allow MD5 and SHA-1 for checksums only."""
    import hashlib

    return getattr(hashlib, name)(usedforsecurity=False)


class Claim(NamedTuple):
    """A checksum that a server states; `hash_name` is one of `hashlib`."""

    hash_name: str
    digest: bytes


class Partial:
    """A file that is being fetched, over as many connections as it takes."""

    def __init__(self, url: str, destination: str, site: Site) -> None:
        self._url = url
        self._check_size = partial(site.check_size, destination)
        self._arrived = partial(site.progress.finish, destination)
        self._counter = site.progress.begin(destination)
        self._descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self.validator = ""
        """What the server calls this version of the file; without one, no part of it is kept."""
        self.total: int | None = None
        self._claims: tuple[Claim, ...] = ()
        self._hashes: dict[str, Any] = {}
        self.size_bytes = 0
        self.furthest = 0
        self.restart()

    def restart(self, validator: str = "", total: int | None = None, claims: tuple[Claim, ...] = ()) -> None:
        """Forget what was received; what follows is checked against `total` and `claims`.

        Raises: StagingError if `total` is too much for this site.
        """
        self._check_size(total or 0)
        if self.size_bytes:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size_bytes = 0
        self.validator, self.total, self._claims = validator, total, claims
        self._counter.done_bytes, self._counter.total_bytes = 0, total
        self._hashes = {name: new_hash(name) for name in ("sha256", *(claim.hash_name for claim in claims))}

    def write(self, data: bytes) -> None:
        """Raises: StagingError when the disk does not take it, or it is too much for this site."""
        self._check_size(max(self.size_bytes + len(data), self.total or 0))
        for digest in self._hashes.values():
            digest.update(data)
        try:
            write_all(self._descriptor, data)
        except OSError as error:
            raise StagingError(f"Cannot store {shown(self._url)}: {error.strerror}") from error
        self._counter.done_bytes = self.size_bytes = self.size_bytes + len(data)
        self.furthest = max(self.furthest, self.size_bytes)

    def finish(self) -> Moved:
        """Check what has come. Raises: Passing if it is not what was promised; it is forgotten then."""
        if self.total is not None and self.size_bytes != self.total:
            size_bytes = self.size_bytes
            if size_bytes > self.total:
                self.restart()
            raise Passing(f"the server promised {self.total} bytes and sent {size_bytes}")
        for name, wanted in self._claims:
            found = self._hashes[name].digest()
            if found != wanted:
                self.restart()
                raise Passing(f"the content has the {name} {found.hex()}, and the server says {wanted.hex()}")
        os.fchmod(self._descriptor, 0o666)
        return Moved(self.size_bytes, self._hashes["sha256"].hexdigest())

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is None:
            self._arrived()


class Reading:
    """A file on its way out of here: iterated once, from its beginning, exactly as long as was announced.

    The site's `progress` counts it under its key; whoever knows that it has arrived says so there.
    """

    def __init__(self, source: Source, site: Site, *more_hashes: str) -> None:
        self._source = source
        self._site = site
        self._position = 0
        self._counter = site.progress.begin(source.key, source.size_bytes)
        self._hashes = {name: new_hash(name) for name in ("sha256", *more_hashes)}

    def __iter__(self) -> Iterator[bytes]:
        """Raises: StagingError if the file changes meanwhile; its last bytes are held back then."""
        source = self._source
        while self._position < source.size_bytes:
            self._site.cancellation.check()
            wanted = min(BUFFER_BYTES, source.size_bytes - self._position)
            data = os.pread(source.descriptor, wanted, self._position)
            self._position += len(data)
            if not data or self._position == source.size_bytes:
                check_unchanged(source)
            for digest in self._hashes.values():
                digest.update(data)
            yield data
            self._counter.done_bytes = self._position
        if not source.size_bytes and os.fstat(source.descriptor).st_size:
            check_unchanged(source)

    def digest(self, name: str) -> str:
        """The hash, in hexadecimal digits, of what was read."""
        return str(self._hashes[name].hexdigest())

    def finish(self) -> Moved:
        """Raises: Passing if not all of it was asked for."""
        if self._position != self._source.size_bytes:
            raise Passing(f"the server took {self._position} of {self._source.size_bytes} bytes")
        return Moved(self._position, self.digest("sha256"))


def digest_of(source: Source, hash_name: str, site: Site) -> str:
    """The hash of a file that has been read once already, in hexadecimal digits."""
    digest, position = new_hash(hash_name), 0
    while True:
        site.cancellation.check()
        data = os.pread(source.descriptor, BUFFER_BYTES, position)
        if not data:
            return str(digest.hexdigest())
        digest.update(data)
        position += len(data)


def check_unchanged(source: Source) -> None:
    """Raises: SourceChanged if the file is no longer what it was when it was opened."""
    status = os.fstat(source.descriptor)
    if (status.st_size, status.st_mtime_ns) != (source.size_bytes, source.mtime_ns):
        raise SourceChanged(f"{source.name} changed while it was read")
