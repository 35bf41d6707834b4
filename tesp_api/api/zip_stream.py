"""Zip archives that are made while they are sent: nothing of them is kept, however large they are."""

import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from typing import IO, cast

from tesp_api.storage.work_files_local import Found

_ENOUGH_BYTES = 64 * 1024


def in_utf8(name: str) -> str:
    """The name of a file as it can be told: bytes that are not UTF-8 as `\\udcff`."""
    return name.encode(errors="backslashreplace").decode()


class _Sink:
    """Takes what `ZipFile` writes, and gives it away again. It cannot seek, nor need it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.waiting_bytes = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self.waiting_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data, self._pieces, self.waiting_bytes = b"".join(self._pieces), [], 0
        return data


async def zipped(
    entries: Iterable[tuple[str, Found | bytes]], read: Callable[[Found], AsyncIterator[bytes]]
) -> AsyncIterator[bytes]:
    """The bytes of an archive with these files of the storage and texts, by name.

    They are not compressed: most large files are already.
    """
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for given, content in entries:
            name = in_utf8(given)
            if isinstance(content, bytes):
                archive.writestr(zipfile.ZipInfo(name), content)
                continue
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                async for piece in read(content):
                    file.write(piece)
                    if sink.waiting_bytes >= _ENOUGH_BYTES:
                        yield sink.take()
    yield sink.take()
