"""The file of a backup: what was written is read, and nothing else passes for it."""

import gzip
import io
import json

import pytest

from tesp_api.errors import UpkeepRefused
from tesp_api.store.backup_file import BackupReader, BackupWriter

PARTS = [("a", b"one"), ("a", b""), ("a", bytes(range(256))), ("b/é", b"\x00" * 100_000)]


def written() -> bytes:
    file = io.BytesIO()
    writer = BackupWriter(file, {"store": "sqlite", "schema": 3})
    part = ""
    for name, data in PARTS:
        if name != part:
            writer.begin(part := name)
        writer.write(data)
    writer.begin("empty")
    writer.finish({"tasks": 2})
    return file.getvalue()


def read(data: bytes) -> tuple[BackupReader, list[tuple[str, bytes]]]:
    backup = BackupReader(io.BytesIO(data))
    return backup, list(backup.data())


def test_what_was_written_is_read() -> None:
    backup, parts = read(written())
    assert parts == PARTS
    assert (backup.header, backup.counts) == ({"format": 1, "store": "sqlite", "schema": 3}, {"tasks": 2})


def test_a_file_can_be_read_twice() -> None:
    file = io.BytesIO(written())
    assert list(BackupReader(file).data()) == list(BackupReader(file).data()) == PARTS


def test_every_byte_that_is_another_is_noticed() -> None:
    whole = written()
    for at in range(len(whole)):
        if at in (4, 5, 6, 7, 8, 9):  # the time and the system in gzip's header say nothing of what follows
            continue
        with pytest.raises(UpkeepRefused):
            read(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])


def test_every_end_that_comes_too_soon_is_noticed() -> None:
    whole = written()
    for size_bytes in range(len(whole)):
        with pytest.raises(UpkeepRefused):
            read(whole[:size_bytes])


@pytest.mark.parametrize("content", [b"", b"plain text", gzip.compress(b""), gzip.compress(b"text" * 9)])
def test_other_files_are_no_backups(content: bytes) -> None:
    with pytest.raises(UpkeepRefused, match="no backup of tesp's"):
        read(content)


def frames(*pairs: tuple[bytes, bytes]) -> bytes:
    return gzip.compress(b"".join(kind + len(data).to_bytes(4, "big") + data for kind, data in pairs))


HEAD = (b"H", b'{"format": 1}')


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([HEAD, (b"E", json.dumps({"counts": {}, "sha256": "00"}).encode())], "checksum"),
        ([HEAD, (b"E", b"[]")], "not the JSON"),
        ([HEAD, (b"X", b"")], "a frame"),
        ([(b"D", b"x"), HEAD], "does not begin"),
        ([(b"H", b"no json")], "not the JSON"),
        ([(b"H", b'{"format": 2}')], "has format 2"),
    ],
)
def test_what_is_made_up_is_refused(pairs: list[tuple[bytes, bytes]], why: str) -> None:
    with pytest.raises(UpkeepRefused, match=why):
        read(frames(*pairs))


def test_a_length_that_nobody_wrote_takes_no_memory() -> None:
    with pytest.raises(UpkeepRefused, match="a frame has 4294967295 bytes"):
        read(gzip.compress(b"H\xff\xff\xff\xff"))
