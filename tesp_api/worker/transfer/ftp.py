"""Transfers over FTP and FTPS: files and directories both ways, resumed where the server can."""

from __future__ import annotations

import contextlib
import ftplib
import os
import secrets
from typing import Any, Callable, TypeVar

from ..errors import StagingError
from ..job import make_directories
from ..urls import extend, shown
from . import Moved, Site, Source
from .ftp_listing import is_directory, list_directory, received
from .ftp_session import FOREIGN, Session, address_of, end_transfer, said, size_of, version_of
from .moving import Partial, Reading
from .retry import Passing, Refused, try_often
from .unsent import wait_until_sent

MAX_DEPTH = 64
MOST_ENTRIES = 100_000

Answer = TypeVar("Answer")


def fetch_file(url: str, destination: str, site: Site) -> Moved:
    with Session(url, site) as session:
        return _fetch(session, url, destination, site)


def fetch_directory(url: str, destination: str, site: Site) -> dict[str, Moved]:
    """Links to files and directories are what the server takes them for."""
    moved: dict[str, Moved] = {}
    with Session(url, site) as session:
        _fetch_below(session, url, destination, "", site, moved, [])
    return moved


def send_file(source: Source, url: str, site: Site) -> Moved:
    """The file appears whole: it is stored under a temporary name beside, then renamed."""
    with Session(url, site) as session:
        suffix = f".{secrets.token_hex(4)}.part"
        return _insist(session, url, site, lambda: _store(session, source, url, suffix, site))


def make_directory(url: str, site: Site) -> None:
    with Session(url, site) as session:
        _insist(session, url, site, lambda: _make_directories(session.connected(), address_of(url).path))


def is_in_place(url: str, host_path: str, site: Site) -> bool:
    return False


def _insist(
    session: Session,
    url: str,
    site: Site,
    action: Callable[[], Answer],
    furthest: Callable[[], int] = lambda: 0,
) -> Answer:
    """Try often, each time on a new connection; what the server refuses for good is not tried again."""

    def attempt() -> Answer:
        try:
            return action()
        except ftplib.error_perm as error:
            session.close()
            raise Refused(said(error)) from error
        except ftplib.Error as error:
            session.close()
            raise Passing(said(error)) from error
        except BaseException:
            session.close()
            raise

    return try_often(attempt, url, site, FOREIGN, furthest)


def _fetch(session: Session, url: str, destination: str, site: Site) -> Moved:
    with Partial(url, destination, site) as part:
        return _insist(session, url, site, lambda: _retrieve(session, url, part, site), lambda: part.furthest)


def _retrieve(session: Session, url: str, part: Partial, site: Site) -> Moved:
    """One try: what follows the bytes that are there, if the file is the same by its size and time."""
    ftp, path = session.connected(), address_of(url).path
    size = size_of(ftp, path)
    version = version_of(ftp, path, size)
    if not version or version != part.validator:
        part.restart(version, size)
    elif part.size_bytes == size:
        return part.finish()
    try:
        connection = ftp.transfercmd(f"RETR {path}", part.size_bytes or None)
    except ftplib.error_perm:
        if not part.size_bytes:
            raise
        session.close()  # it knows no REST
        part.restart(version, size)
        ftp = session.connected()
        connection = ftp.transfercmd(f"RETR {path}")
    with connection:
        for data in received(connection.recv, site):
            part.write(data)
    end_transfer(ftp)
    if size is None:
        site.message(f"{shown(url)}: the server does not say how long it is, so this was not checked")
    return part.finish()


def _store(session: Session, source: Source, url: str, suffix: str, site: Site) -> Moved:
    ftp, path = session.connected(), address_of(url).path
    above, slash, name = path.rpartition("/")
    temporary = f"{above}{slash}.{name[:200]}{suffix}"
    try:
        connection = ftp.transfercmd(f"STOR {temporary}")
    except ftplib.error_perm:
        _make_directories(ftp, above)
        connection = ftp.transfercmd(f"STOR {temporary}")
    try:
        moved = _upload(ftp, connection, source, site)
        stored = size_of(ftp, temporary)
        if stored not in (None, moved.size_bytes):
            raise Passing(f"the server has stored {stored} of {moved.size_bytes} bytes")
        _rename(ftp, temporary, path)
        return moved
    except BaseException:
        connection.close()
        with contextlib.suppress(OSError, *FOREIGN, ftplib.error_perm):
            ftp.delete(temporary)
        raise


def _upload(ftp: ftplib.FTP, connection: Any, source: Source, site: Site) -> Moved:
    reading = Reading(source, site)
    with connection:
        for data in reading:
            connection.sendall(data)
        wait_until_sent(connection, site.patience.stall_s)
        if hasattr(connection, "unwrap"):  # tells the server that this end is no cut
            with contextlib.suppress(OSError):
                connection.unwrap()
    end_transfer(ftp)
    return reading.finish()


def _rename(ftp: ftplib.FTP, temporary: str, path: str) -> None:
    """Some servers rename over no file; there the older one steps aside, and is back if all is refused."""
    try:
        ftp.rename(temporary, path)
    except ftplib.error_perm as refused:
        aside = f"{temporary}.old"
        try:
            ftp.rename(path, aside)
        except ftplib.error_perm:
            raise refused from None
        try:
            ftp.rename(temporary, path)
        except ftplib.error_perm:
            ftp.rename(aside, path)
            raise
        ftp.delete(aside)


def _make_directories(ftp: ftplib.FTP, path: str) -> None:
    """Raises: error_perm if the last one cannot be made."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        if above:
            try:
                ftp.mkd(above)
            except ftplib.error_perm:
                if count == len(parts) and not is_directory(ftp, path):
                    raise


def _fetch_below(
    session: Session,
    url: str,
    destination: str,
    below: str,
    site: Site,
    moved: dict[str, Moved],
    directories: list[str],
) -> None:
    """Raises: StagingError for a tree without end, or a name that would lead out of it."""
    if below.count("/") >= MAX_DEPTH:
        raise StagingError(f"{shown(url)}: more than {MAX_DEPTH} directories deep")
    entries = _insist(session, url, site, lambda: _list(session, url, site))
    for name, is_tree in sorted(entries.items()):
        site.cancellation.check()
        if len(moved) + len(directories) >= MOST_ENTRIES:
            raise StagingError(f"{shown(url)}: more than {MOST_ENTRIES} files and directories")
        there, place = extend(url, name), os.path.join(destination, name)
        if is_tree is None:
            site.message(f"Left out {shown(there)}: neither a file nor a directory")
        elif is_tree:
            directories.append(name)
            make_directories(place)
            _fetch_below(session, there, place, f"{below}{name}/", site, moved, directories)
        else:
            moved[below + name] = _fetch(session, there, place, site)


def _list(session: Session, url: str, site: Site) -> dict[str, bool | None]:
    return list_directory(session.connected(), address_of(url).path, site)
