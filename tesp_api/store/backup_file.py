"""The file of a backup: a header, named parts, and an end that vouches for them. One form for both stores.

It is one gzip stream of frames: a letter, a length in 4 bytes (big-endian), and so many bytes.

    H   JSON: format, store, database, schema, made_by, created_at, exact, key_check; the first one
    P   the name of a part: a file, or a collection of MongoDB
    D   some bytes of that part: of the file, or whole BSON documents
    E   JSON: counts of what is there, and the SHA-256 of all frames before this one; the last one

It is written and read once from its beginning to its end, a frame at a time, however large it is.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from tesp_api.errors import UpkeepRefused

FORMAT = 1

_LEVEL = 4
_FRAME_MAX_BYTES = 64 * 1024**2
_HEAD, _PART, _DATA, _END = b"H", b"P", b"D", b"E"


class BackupWriter:
    """Writes a backup into `file`, which it neither closes nor brings to the disk."""

    def __init__(self, file: BinaryIO, header: Mapping[str, Any]) -> None:
        self._stream = gzip.GzipFile("", "wb", _LEVEL, file, mtime=0)
        self._digest = hashlib.sha256()
        self._frame(_HEAD, _json({"format": FORMAT, **header}))

    def begin(self, part: str) -> None:
        """What is written from now on belongs to this part."""
        self._frame(_PART, part.encode())

    def write(self, data: bytes) -> None:
        """Add to the part that was begun: at most some tens of MB at once."""
        self._frame(_DATA, data)

    def finish(self, counts: Mapping[str, int]) -> None:
        """Say that this is all, and how much it is; without it the file is no backup."""
        self._frame(_END, _json({"counts": counts, "sha256": self._digest.hexdigest()}))
        self._stream.close()

    def _frame(self, kind: bytes, data: bytes) -> None:
        frame_head = kind + len(data).to_bytes(4, "big")
        for piece in (frame_head, data):
            self._digest.update(piece)
            self._stream.write(piece)


class BackupReader:
    """Reads a backup from the beginning of `file`, which may be read again by another reader.

    All methods raise `UpkeepRefused` for what is damaged, incomplete, or no backup at all.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        file.seek(0)
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        self._digest = hashlib.sha256()
        self.counts: Mapping[str, int] = {}
        """Of what is there; known when all has been read."""
        kind, data = self._frame()
        if kind != _HEAD:
            raise _no_backup("it does not begin as one")
        self.header: Mapping[str, Any] = _object(data)
        found = self.header.get("format")
        if found != FORMAT:
            raise UpkeepRefused(
                f"the backup has format {found}, but this tesp reads {FORMAT} alone: use the tesp it is of"
            )

    def data(self) -> Iterator[tuple[str, bytes]]:
        """Each piece with the name of its part. After the last one it is certain that nothing is missing."""
        part = ""
        while True:
            before = self._digest.hexdigest()
            kind, data = self._frame()
            if kind == _PART:
                part = data.decode("utf-8", "replace")
            elif kind == _DATA:
                yield part, data
            elif kind == _END:
                break
            else:
                raise _no_backup(f"there is a frame {kind!r}")
        end = _object(data)
        if end.get("sha256") != before:
            raise _no_backup("its checksum is another")
        if self._read(1):
            raise _no_backup("something follows its end")
        counts = end.get("counts")
        if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
            raise _no_backup("it does not say how much is in it")
        self.counts = counts

    def _frame(self) -> tuple[bytes, bytes]:
        head = self._exactly(5)
        size_bytes = int.from_bytes(head[1:], "big")
        if size_bytes > _FRAME_MAX_BYTES:
            raise _no_backup(f"a frame has {size_bytes} bytes")
        data = self._exactly(size_bytes)
        self._digest.update(head)
        self._digest.update(data)
        return head[:1], data

    def _exactly(self, size_bytes: int) -> bytes:
        data = self._read(size_bytes)
        if len(data) < size_bytes:
            raise _no_backup("it ends too soon")
        return data

    def _read(self, size_bytes: int) -> bytes:
        try:
            return self._stream.read(size_bytes)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise _no_backup(str(error)) from None


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _no_backup("a frame is not the JSON that it should be")
    return document


def _no_backup(why: str) -> UpkeepRefused:
    return UpkeepRefused(f"the file is damaged, or no backup of tesp's: {why}")
