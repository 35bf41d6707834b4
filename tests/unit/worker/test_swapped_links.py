"""A link that another task puts on the way, just after the worker has looked where a path leads."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.errors import StagingError
from tesp_api.worker.mounts import Bind
from tesp_api.worker.order import FileRoot, Patience
from tesp_api.worker.transfer import Site, Source, file, roots
from tesp_api.worker.view import View


class Place:
    """A shared folder whose `sub` will be swapped for a link to a folder of the host that nobody shares."""

    def __init__(self, folder: Path) -> None:
        self.root, self.host, self.here = folder / "root", folder / "host", folder / "here"
        for parent, text in ((self.root / "sub", "shared"), (self.host, "secret")):
            (parent / "one").mkdir(parents=True)
            (parent / "one" / "key").write_text(text)
        self.here.mkdir()
        self.url = f"file://{self.root}/sub/one"
        shared = FileRoot(str(self.root), "rw")
        self.site = Site((shared,), Cancellation(str(folder / "cancel")), print, Patience())

    def swap(self) -> None:
        (self.root / "sub").rename(self.root / "other")
        (self.root / "sub").symlink_to(self.host)

    def on_host(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.host / "one").iterdir() if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Swapped as soon as somebody has resolved a path in it."""
    made = Place(tmp_path)
    resolve = roots.resolve_in_roots

    def resolve_and_lose(url: str, allowed: tuple[FileRoot, ...]) -> tuple[str, FileRoot]:
        found = resolve(url, allowed)
        if not (made.root / "other").exists():
            made.swap()
        return found

    monkeypatch.setattr(file, "resolve_in_roots", resolve_and_lose)
    return made


def _send(place: Place, url: str) -> None:
    new = place.here / "new"
    new.write_text("mine")
    with new.open() as opened:
        status = os.fstat(opened.fileno())
        source = Source(opened.fileno(), status.st_size, status.st_mtime_ns, status.st_mode, "new")
        file.send_file(source, url, place.site)


ATTACKS: dict[str, Callable[[Place], object]] = {
    "a file is fetched": lambda place: file.fetch_file(
        f"{place.url}/key", str(place.here / "key"), place.site
    ),
    "a directory is fetched": lambda place: file.fetch_directory(place.url, str(place.here), place.site),
    "a file is sent": lambda place: _send(place, f"{place.url}/key"),
    "a file is sent into a new directory": lambda place: _send(place, f"{place.url}/new/key"),
    "a directory is made": lambda place: file.make_directory(f"{place.url}/new", place.site),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_transfer_follows_it(place: Place, name: str) -> None:
    with pytest.raises(StagingError, match="Cannot"):
        ATTACKS[name](place)
    assert place.on_host() == {"key": "secret"}
    assert [path.name for path in (place.host / "one").iterdir()] == ["key"]
    assert "secret" not in "".join(path.read_text() for path in place.here.iterdir())


def test_no_output_is_read_through_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    view = View([Bind("/one", f"{place.root}/sub/one", is_shared=True)])
    of_file = View([Bind("/key", f"{place.root}/sub/one/key", is_file=True, is_shared=True)])
    os.close(view.open("/one/key", os.O_RDONLY))
    os.close(of_file.open("/key", os.O_RDONLY))
    place.swap()
    for looking, path in ((view, "/one/key"), (view, "/one"), (of_file, "/key")):
        with pytest.raises(OSError):
            looking.open(path, os.O_RDONLY)


def test_no_directory_is_made_behind_it_for_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    view = View([Bind("/one", f"{place.root}/sub/one", writable=True, is_shared=True)])
    os.close(view.open_for_writing("/one/logs/today/out"))
    assert (place.root / "sub/one/logs/today/out").read_bytes() == b""
    resolve = view.resolve

    def resolve_and_lose(path: str) -> str:
        found = resolve(path)
        place.swap()
        return found

    monkeypatch.setattr(view, "resolve", resolve_and_lose)
    with pytest.raises(OSError):
        view.open_for_writing("/one/new/out")
    assert [path.name for path in (place.host / "one").iterdir()] == ["key"]


def test_a_folder_that_lies_behind_a_link_of_the_site_is_used_as_ever(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "link").symlink_to(place.root)
    site = place.site._replace(roots=(FileRoot(str(tmp_path / "link"), "rw"),))
    place.site = site
    _send(place, f"{tmp_path}/link/sub/new/key")
    assert (place.root / "sub" / "new" / "key").read_text() == "mine"
    assert file.fetch_file(f"{tmp_path}/link/sub/one/key", str(place.here / "key"), site).size_bytes == 6
