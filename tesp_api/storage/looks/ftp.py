"""Looks at FTP servers."""

import ftplib
from collections.abc import Callable, Mapping
from typing import TypeVar

from tesp_api.storage.looks.seen import DIRECTORY, Missing, Seen
from tesp_api.worker.transfer import Site
from tesp_api.worker.transfer.ftp_listing import is_directory, list_directory, received
from tesp_api.worker.transfer.ftp_session import FOREIGN, Session, address_of, said, size_of
from tesp_api.worker.transfer.retry import Passing, Refused, try_often
from tesp_api.worker.urls import shown

_NOTHING_THERE = "550"

T = TypeVar("T")


def stat(url: str, site: Site) -> Seen:
    def look(ftp: ftplib.FTP) -> Seen:
        path = address_of(url).path
        if is_directory(ftp, path):
            return DIRECTORY
        size = size_of(ftp, path)
        if size is None:
            raise Missing(f"{shown(url)}: the server tells of no such file")
        return Seen("file", size)

    return _with_session(url, site, look)


def read(url: str, offset: int, limit: int, site: Site) -> bytes:
    def look(ftp: ftplib.FTP) -> bytes:
        path, data = address_of(url).path, b""
        size = size_of(ftp, path)
        if size is not None and offset >= size:
            return b""
        with ftp.transfercmd(f"RETR {path}", offset or None) as connection:
            for piece in received(connection.recv, site):
                data += piece
                if len(data) >= limit:
                    break
        return data[:limit]

    return _with_session(url, site, look) if limit else b""


def listing(url: str, site: Site) -> Mapping[str, Seen]:
    def look(ftp: ftplib.FTP) -> Mapping[str, Seen]:
        entries = list_directory(ftp, address_of(url).path, site)
        return {
            name: DIRECTORY if is_tree else Seen("file")
            for name, is_tree in entries.items()
            if is_tree is not None
        }

    return _with_session(url, site, look)


def _with_session(url: str, site: Site, look: Callable[[ftplib.FTP], T]) -> T:
    """On a connection of its own, which ends with the look: a file may have been read in part."""

    def attempt() -> T:
        with Session(url, site) as session:
            try:
                return look(session.connected())
            except ftplib.error_perm as error:
                if str(error).startswith(_NOTHING_THERE):
                    raise Missing(f"{shown(url)}: {said(error)}") from error
                raise Refused(said(error)) from error
            except ftplib.Error as error:
                raise Passing(said(error)) from error

    return try_often(attempt, url, site, FOREIGN)
