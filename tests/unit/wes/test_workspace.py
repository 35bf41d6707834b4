"""Files of a Snakemake run that are fetched when a Snakefile opens them."""

from pathlib import Path
from typing import Any

import pytest

from tesp_api.wes.engines.inside.channel import Refused
from tesp_api.wes.engines.snakemake.expander import workspace as module
from tesp_api.wes.engines.snakemake.expander.workspace import Place, Workspace


class Server:
    """Reads two bytes at a time; `refuses` from an offset on."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.refuses = 10**9

    def read(self, url: str, offset: int, limit: int) -> bytes:
        if offset >= self.refuses:
            raise Refused("not now")
        return self.contents[url][offset : offset + min(limit, 2)]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def workspace(server: Server, tmp_path: Path) -> Workspace:
    channel: Any = server
    made = Workspace(channel, "file:///run/", str(tmp_path))
    for name in ("a", "b", "c"):
        server.contents[name] = name.encode() * 100
        made.add(f"{tmp_path}/{name}", Place(name, 100))
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_could_not_be_fetched_whole_is_fetched_anew(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    server.refuses = 50
    with pytest.raises(Refused):
        workspace.fetch(f"{tmp_path}/a")
    server.refuses = 10**9
    server.contents["a"] = b"a" * 50
    with pytest.raises(OSError, match="no longer the one that it had"):
        workspace.fetch(f"{tmp_path}/a")
    server.contents["a"] = b"a" * 100
    workspace.fetch(f"{tmp_path}/a")
    assert (tmp_path / "a").read_bytes() == b"a" * 100
    assert sorted(one.name for one in tmp_path.iterdir()) == [".snakemake", "a", "b", "c"]


def test_what_was_opened_first_makes_room(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = (tmp_path / name for name in ("a", "b", "c"))
    began = a.stat().st_mtime_ns
    workspace.fetch(str(a))
    workspace.fetch(str(b))
    b.write_text("a Snakefile's own")
    monkeypatch.setattr(module, "_free_bytes", lambda _: 0)
    workspace.fetch(str(c))
    assert (mode(a), a.stat().st_size, a.stat().st_mtime_ns) == (0, 100, began)
    assert b.read_text() == "a Snakefile's own"
    workspace.fetch(str(a))
    assert (a.read_bytes(), mode(c)) == (b"a" * 100, 0)


def test_a_file_whose_size_is_not_told_is_fetched_up_to_the_limit(
    workspace: Workspace, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.contents["d"] = b"d" * 100
    workspace.add(f"{tmp_path}/d", Place("d", None))
    workspace.fetch(f"{tmp_path}/d")
    assert (tmp_path / "d").read_bytes() == b"d" * 100
    monkeypatch.setattr(module, "FETCH_MAX_BYTES", 99)
    workspace.add(f"{tmp_path}/d", Place("d", None))
    with pytest.raises(PermissionError, match="up to 99 bytes"):
        workspace.fetch(f"{tmp_path}/d")
