"""DIRECTORY inputs over FTP: the listings of real servers, and those that other servers are known to give."""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyftpdlib.filesystems import AbstractedFS, FilesystemError

from tests.integration.worker_job import WorkerJob, shell
from tests.services.ftp_server import FtpServer
from tests.services.real_servers import real_server

pytestmark = pytest.mark.services

TREE = [
    ".",
    "./.hidden",
    "./a -> b",
    "./link",
    "./linked",
    "./linked/x",
    "./plain",
    "./sub dir",
    "./sub dir/x",
]


def make_tree(root: Path) -> None:
    (root / "tree" / "sub dir").mkdir(parents=True)
    for name in (".hidden", "a -> b", "plain", "sub dir/x"):
        (root / "tree" / name).write_text(name)
    (root / "tree" / "link").symlink_to("plain")
    (root / "tree" / "linked").symlink_to("sub dir")


def staged(folder: Path, url: str) -> tuple[dict[str, Any], list[str]]:
    """result.json, and what `find` saw in the container."""
    job = WorkerJob(
        folder / f"job-{time.time_ns()}",
        "bubblewrap",
        site={"transfers": {"stall_s": 3, "tries": 2, "pause_s": 0.02}},
        inputs=[{"path": "/in", "url": url, "type": "DIRECTORY"}],
        executors=[shell("cd /in; find . | sort; cat link")],
    )
    return job.run(), job.log("0.stdout").decode().splitlines()


@pytest.mark.parametrize("kind", ["vsftpd", "pyftpdlib"])
def test_hidden_files_and_links_of_real_servers(tmp_path: Path, kind: str) -> None:
    with real_server(kind, tmp_path / "server") as server:
        make_tree(server.root)
        if kind != "pyftpdlib":  # which calls a pipe a file, and hangs when it opens it
            os.mkfifo(server.root / "tree" / "pipe")
        server.own(server.root)
        result, seen = staged(tmp_path, server.url("tree"))
    assert result["state"] == "COMPLETE", result
    assert sorted(seen) == sorted([*TREE, "plain"])
    told = [line for line in result["system_logs"] if "/pipe: neither a file nor a directory" in line]
    assert len(told) == (kind != "pyftpdlib")


class _WithLinks(AbstractedFS):  # type: ignore[misc]
    """Facts as Pure-FTPd gives them: links are told as such."""

    def format_mlsx(self, basedir: str, listing: Iterable[str], *_: Any, **__: Any) -> Iterator[bytes]:
        for name in listing:
            path = Path(basedir, name)
            kind = "OS.unix=slink:" if path.is_symlink() else "dir" if path.is_dir() else "file"
            yield f"type={kind};size=5;modify=20261122171043;UNIX.mode=0777; {name}\r\n".encode()


class _Dos(AbstractedFS):  # type: ignore[misc]
    def format_list(self, basedir: str, listing: Iterable[str], ignore_err: bool = True) -> Iterator[bytes]:
        for name in listing:
            path = Path(basedir, name)
            size = "      <DIR>         " if path.is_dir() else f"{path.stat().st_size:20}"
            yield f"11-22-26  05:10PM {size} {name}\r\n".encode()


class _Unreadable(AbstractedFS):  # type: ignore[misc]
    def format_list(self, basedir: str, listing: Iterable[str], ignore_err: bool = True) -> Iterator[bytes]:
        for name in listing:
            yield f"+i8388621.48594,m825718503,r,s280,\t{name}\r\n".encode()


class _WithoutOptions(AbstractedFS):  # type: ignore[misc]
    """Takes what follows LIST for a name, as it is meant to be."""

    is_asked_anew = False

    def format_list(self, basedir: str, listing: Iterable[str], ignore_err: bool = True) -> Iterator[bytes]:
        type(self).is_asked_anew = not self.is_asked_anew
        if self.is_asked_anew:
            raise FilesystemError("No such file: -a")
        yield from super().format_list(basedir, listing, ignore_err)


@pytest.mark.parametrize("style", [_WithLinks, _Dos, _Unreadable, _WithoutOptions])
def test_the_listings_of_other_servers(tmp_path: Path, style: type[AbstractedFS]) -> None:
    make_tree(tmp_path / "root")
    refused = () if style is _WithLinks else ("MLSD",)
    with FtpServer(tmp_path / "root", refused=refused, abstracted_fs=style) as server:
        result, seen = staged(tmp_path, server.url("tree"))
    assert result["state"] == "COMPLETE", result
    assert sorted(seen) == sorted([*TREE, "plain"])
