"""What an FTP directory holds: by MLSD, else by LIST (Unix and DOS styles), else by NLST.

Links are what the server takes them for. Hidden files are asked for, where that needs a word.
"""

from __future__ import annotations

import ftplib
import re
from typing import Any, Callable, Iterator

from . import BUFFER_BYTES, Site
from .ftp_session import end_transfer
from .retry import Refused

UNKNOWN_COMMAND = ("500", "501", "502", "504")
NOTHING_THERE = ("450", "550")
"""What some servers answer when there is nothing to list."""

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_UNIX = re.compile(
    rf"([-a-z])[-a-zA-Z]{{9}}\S?\s.*?(\d+)\s+(?:(?:{_MONTHS})\s+\d+\s+(?:\d+:\d\d|\d{{4}})"
    r"|\d{4}-\d\d-\d\d\s+\d\d:\d\d)\s(.+)"
)
_DOS = re.compile(r"\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:[AP]M)?\s+(<[A-Z]+>|\d+)\s+(.+)")

Entries = dict[str, Any]
"""Names as they were sent (Latin-1), with True for directories, False for files, None for what is neither."""


def list_directory(ftp: ftplib.FTP, path: str, site: Site) -> dict[str, bool | None]:
    """The names in a directory and whether they are directories; None for what is neither.

    Raises: Refused for a name that would lead out of the directory, or if it is none; ftplib's errors.
    """
    try:
        entries = _by_facts(ftp, path, site)
    except ftplib.error_perm as error:
        if not str(error).startswith(UNKNOWN_COMMAND):
            raise
        entries = _inside(ftp, path, lambda: _by_lines(ftp, site))
    for name in entries:
        if "/" in name or name in ("", ".", ".."):
            raise Refused(f"the listing has a name that leads elsewhere: {name!r}")
    return {
        name.encode("latin-1").decode("utf-8", "surrogateescape"): is_directory
        for name, is_directory in entries.items()
    }


def is_directory(ftp: ftplib.FTP, path: str) -> bool:
    """Whether the server can go there."""
    home = ftp.pwd()
    try:
        ftp.cwd(path or ".")
    except ftplib.error_perm:
        return False
    ftp.cwd(home)
    return True


def received(receive: Callable[[int], bytes], site: Site) -> Iterator[bytes]:
    """What comes, to its end. Raises: Canceled, OSError."""
    while True:
        site.cancellation.check()
        data = receive(BUFFER_BYTES)
        if not data:
            return
        yield data


def read_line(line: str) -> tuple[str, str] | None:
    """Kind ("d", "-", "l" or another) and name of a line of LIST; None if it cannot be read.

    The kind of a link is "l"; its size is the length of its target, which tells where its name ends.
    """
    unix, dos = _UNIX.match(line), _DOS.match(line)
    if dos:
        return "d" if dos[1] == "<DIR>" else "-" if dos[1].isdigit() else "l", dos[2]
    if not unix:
        return None
    kind, size, name = unix[1], int(unix[2]), unix[3]
    if kind == "l":
        name = name[: -size - 4] if name[-size - 4 :].startswith(" -> ") else name.partition(" -> ")[0]
    return kind, name


def _by_facts(ftp: ftplib.FTP, path: str, site: Site) -> Entries:
    entries: Entries = {}
    for line in _lines(ftp, f"MLSD {path}".rstrip(), site):
        facts, _, name = line.partition(" ")
        kind = facts.lower().partition("type=")[2].partition(";")[0]
        if kind.startswith(("os.unix=slink", "os.unix=symlink")):
            entries[name] = is_directory(ftp, f"{path}/{name}" if path else name)
        elif kind not in ("cdir", "pdir"):
            entries[name] = kind == "dir" if kind in ("dir", "file") else None
    return entries


def _inside(ftp: ftplib.FTP, path: str, listing: Callable[[], Entries]) -> Entries:
    """Call it in the directory: a name after LIST may be taken for options or a pattern."""
    home = ftp.pwd()
    try:
        ftp.cwd(path or ".")
    except ftplib.error_perm as error:
        raise Refused("550 It is no directory") from error
    entries = listing()
    ftp.cwd(home)
    return entries


def _by_lines(ftp: ftplib.FTP, site: Site) -> Entries:
    """LIST -a where that is understood; NLST if a line is of no known style."""
    lines = _lines_or_none(ftp, "LIST -a", site)
    if not lines or (len(lines) == 1 and lines[0].endswith(" -a")):  # taken for a name
        lines = _lines_or_none(ftp, "LIST", site)
    read = [read_line(line) for line in lines if not line.startswith("total ")]
    if None in read:
        names = {line.rpartition("/")[2] for line in _lines_or_none(ftp, "NLST", site)} - {"", ".", ".."}
        return {name: is_directory(ftp, name) for name in names}
    entries: Entries = {}
    for kind, name in filter(None, read):
        if name not in (".", ".."):
            entries[name] = is_directory(ftp, name) if kind == "l" else {"d": True, "-": False}.get(kind)
    return entries


def _lines_or_none(ftp: ftplib.FTP, command: str, site: Site) -> list[str]:
    try:
        return list(_lines(ftp, command, site))
    except (ftplib.error_perm, ftplib.error_temp) as error:
        if not str(error).startswith((*NOTHING_THERE, *UNKNOWN_COMMAND)):
            raise
        return []


def _lines(ftp: ftplib.FTP, command: str, site: Site) -> Iterator[str]:
    with ftp.transfercmd(command) as connection:
        data = b"".join(received(connection.recv, site))
    end_transfer(ftp)
    for line in data.decode("latin-1").split("\n"):
        if line.strip("\r"):
            yield line.rstrip("\r")
