"""An upload takes its name, on servers that rename over a file and on those that do not."""

import ftplib

import pytest

from tesp_api.worker.transfer.ftp import _rename


class Server:
    """The names that an FTP server has, as `ftplib.FTP` would change them."""

    def __init__(self, *, refused: tuple[str, ...] = (), replaces: bool = False) -> None:
        self.files = {"x": "old", "x.part": "new"}
        self._refused = refused
        self._replaces = replaces

    def rename(self, name: str, new: str) -> None:
        if name in self._refused or name not in self.files or (new in self.files and not self._replaces):
            raise ftplib.error_perm("553 no")  # noqa: S321 - no connection
        self.files[new] = self.files.pop(name)

    def delete(self, name: str) -> None:
        del self.files[name]


def rename(server: Server) -> None:
    _rename(server, "x.part", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("replaces", [False, True])
def test_the_new_file_takes_the_name(replaces: bool) -> None:
    server = Server(replaces=replaces)
    rename(server)
    assert server.files == {"x": "new"}


@pytest.mark.parametrize("refused", [("x.part",), ("x",), ("x", "x.part")])
def test_where_it_is_refused_the_older_file_stays(refused: tuple[str, ...]) -> None:
    server = Server(refused=refused)
    with pytest.raises(ftplib.error_perm):
        rename(server)
    assert server.files["x"] == "old"
