"""Transfers: one module for each protocol, found by the URL's scheme.

To add a protocol, write a module with the functions of `Transfer` and name it in `SCHEMES`.
Modules are imported when their first URL comes up: most tasks need one at most.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Callable, NamedTuple, Protocol, cast

from ..cancellation import Cancellation
from ..errors import StagingError
from ..order import FileRoot, Patience
from ..progress import Tally
from ..urls import scheme_of, shown
from .lending import Lender, NoLender

if TYPE_CHECKING:
    from .guard import Guard

SCHEMES = {
    "": "file",
    "file": "file",
    "http": "http",
    "https": "http",
    "ftp": "ftp",
    "ftps": "ftp",
    "s3": "s3",
}
BUFFER_BYTES = 256 * 1024


def any_size(place: str, size_bytes: int) -> None:
    """Let files be as large as they are."""


def strictest_guard() -> Guard:
    """One that denies what is denied by default; the module is imported once something is to be reached."""
    from .guard import Guard

    return Guard()


class Site(NamedTuple):
    """What every transfer may need of the site."""

    roots: tuple[FileRoot, ...]
    cancellation: Cancellation
    message: Callable[[str], None]
    patience: Patience
    lender: Lender = NoLender()
    guarding: Callable[[], Guard] = strictest_guard
    """Makes what is asked before each connection."""
    check_size: Callable[[str, int], None] = any_size
    """Told of each file that is being fetched how large it is by now, and will be as soon as that is known;
    raises StagingError if that is too much."""
    progress: Tally = Tally()
    """Where each file that is moved is counted."""

    @property
    def guard(self) -> Guard:
        """What says whether a connection may be made."""
        return self.guarding()


class Moved(NamedTuple):
    """What arrived, whole: counted and hashed on its way."""

    size_bytes: int
    sha256: str


class Source(NamedTuple):
    """An open regular file to send."""

    descriptor: int
    size_bytes: int
    mtime_ns: int
    mode: int
    name: str

    @property
    def key(self) -> tuple[str, int, int]:
        """The same for every try to send it."""
        return self.name, self.mtime_ns, self.size_bytes


class Transfer(Protocol):
    """What a protocol's module offers. Every function checks the cancellation as it goes."""

    def fetch_file(self, url: str, destination: str, site: Site) -> Moved:
        """Write the URL's content to a new file. Raises: StagingError, Canceled."""

    def fetch_directory(self, url: str, destination: str, site: Site) -> dict[str, Moved]:
        """Merge the content of a directory into an existing one; returns its files by relative path.

        Raises: StagingError, Canceled.
        """

    def send_file(self, source: Source, url: str, site: Site) -> Moved:
        """Store the file at exactly this URL. Raises: StagingError, Canceled."""

    def make_directory(self, url: str, site: Site) -> None:
        """Make an empty directory; does nothing where directories do not exist by themselves."""

    def is_in_place(self, url: str, host_path: str, site: Site) -> bool:
        """Whether this very file or directory is already what the URL names."""


def close_connections() -> None:
    """Close those that wait to be used again."""
    idle = getattr(sys.modules.get(f"{__name__}.connection"), "IDLE", None)  # not while it is imported
    if idle is not None:
        idle.close()


def transfer_for(url: str) -> Transfer:
    """Raises: StagingError for a scheme that no module serves."""
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        known = ", ".join(sorted(filter(None, SCHEMES)))
        raise StagingError(f"{shown(url)}: no transfer for {scheme}:// (there is one for {known})")
    return cast(Transfer, import_module(f"{__name__}.{SCHEMES[scheme]}"))
