"""Links are followed as the container saw them, and nowhere else."""

import errno
import os
from pathlib import Path

import pytest

from tesp_api.worker.beneath import open_beneath
from tesp_api.worker.mounts import Bind
from tesp_api.worker.view import View


@pytest.fixture
def view(tmp_path: Path) -> View:
    data, shared = tmp_path / "fs" / "data", tmp_path / "shared"
    (data / "sub").mkdir(parents=True)
    shared.mkdir()
    (data / "file").write_text("inside")
    (shared / "far").write_text("far")
    return View([Bind("/data", str(data)), Bind("/data/shared", str(shared), writable=False)])


def link(view: View, name: str, target: str) -> str:
    Path(str(view.host_path("/data")), name).symlink_to(target)
    return f"/data/{name}"


@pytest.mark.parametrize(
    ("target", "resolved"),
    [
        ("file", "/data/file"),
        ("/data/file", "/data/file"),
        ("../data/sub/../file", "/data/file"),
        ("../../../../data/file", "/data/file"),
        ("/data/shared/far", "/data/shared/far"),
        ("/etc/passwd", "/etc/passwd"),
        ("../etc/passwd", "/etc/passwd"),
    ],
)
def test_links_begin_at_the_container_s_root(view: View, target: str, resolved: str) -> None:
    assert view.resolve(link(view, "link", target)) == resolved


def test_what_is_in_the_image_has_no_place_on_the_host(view: View) -> None:
    assert view.lstat(view.resolve(link(view, "link", "/etc/passwd"))) is None
    with pytest.raises(FileNotFoundError):
        view.open_for_reading("/data/link")


def test_links_to_directories_are_followed_on_the_way(view: View) -> None:
    link(view, "dir", "/data/shared")
    with os.fdopen(view.open_for_reading("/data/dir/far")) as file:
        assert file.read() == "far"


def test_a_loop_of_links_is_an_error(view: View) -> None:
    link(view, "a", "b")
    link(view, "b", "a")
    with pytest.raises(OSError, match="symbolic links") as caught:
        view.resolve("/data/a")
    assert caught.value.errno == errno.ELOOP


def test_a_link_that_appears_after_resolving_is_refused(view: View) -> None:
    link(view, "late", "/etc")
    with pytest.raises(OSError):
        view.open("/data/late/passwd", os.O_RDONLY)
    with pytest.raises(OSError):
        open_beneath(str(view.host_path("/data")), "late", os.O_RDONLY)


def test_a_fifo_is_not_read(view: View) -> None:
    os.mkfifo(str(view.host_path("/data/pipe")))
    with pytest.raises(OSError, match="regular"):
        view.open_for_reading("/data/pipe")


def test_nothing_is_written_into_a_fifo(view: View) -> None:
    pipe = str(view.host_path("/data/pipe"))
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="regular"):
            view.open_for_writing("/data/pipe")
    finally:
        os.close(reader)


def test_writing_makes_parents_and_respects_read_only_binds(view: View) -> None:
    os.close(view.open_for_writing("/data/new/deep/file"))
    assert Path(str(view.host_path("/data/new/deep/file"))).exists()
    with pytest.raises(OSError, match="Read-only"):
        view.open_for_writing("/data/shared/far")
