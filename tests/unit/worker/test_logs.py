"""Logs in chunks: whole when short, head and tail when long."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tesp_api.worker.logs import LogStream


def write(folder: Path, parts: list[bytes], chunk_bytes: int, max_bytes: int) -> LogStream:
    stream = LogStream(str(folder), "0.stdout", chunk_bytes, max_bytes, lambda name, size: None)
    for part in parts:
        stream.write(part)
    stream.close()
    return stream


def test_a_short_log_is_whole_and_cut_at_the_chunk_size(tmp_path: Path) -> None:
    write(tmp_path, [b"abc", b"defgh"], 4, 100)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "0.stdout.000000": b"abcd",
        "0.stdout.000001": b"efgh",
    }


def test_a_long_log_loses_its_middle(tmp_path: Path) -> None:
    stream = write(tmp_path, [b"%04d" % number for number in range(10)], 4, 16)
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"0000", b"0001", b"0008", b"0009"]
    assert (stream.total_bytes, stream.dropped_bytes) == (40, 24)


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=50), max_size=20), chunk=st.integers(1, 20), limit=st.integers(1, 200)
)
def test_what_is_kept_is_where_its_number_says(
    tmp_path_factory: object, parts: list[bytes], chunk: int, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")  # type: ignore[attr-defined]
    stream = write(folder, parts, chunk, limit)
    whole = b"".join(parts)
    kept = 0
    for path in folder.iterdir():
        start = int(path.suffix[1:]) * chunk
        assert path.read_bytes() == whole[start : start + chunk]
        kept += len(path.read_bytes())
    assert stream.total_bytes == len(whole) == kept + stream.dropped_bytes
    assert kept <= max(limit, 2 * chunk)
