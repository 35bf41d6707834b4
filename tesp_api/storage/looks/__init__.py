"""Looks at storage from this server: what is at a URL, a part of its bytes, what is in a directory.

One module for each protocol. The connections, logins and rules are those of the worker's transfers.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from tesp_api.storage.looks import file, ftp, http, s3
from tesp_api.storage.looks.seen import Missing, Seen
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer import Site
from tesp_api.worker.urls import scheme_of, shown

__all__ = ["Look", "Missing", "Seen", "look_at"]


class Look(Protocol):
    """What a protocol's module offers. All of it raises StagingError, Missing, Canceled."""

    def stat(self, url: str, site: Site) -> Seen: ...

    def read(self, url: str, offset: int, limit: int, site: Site) -> bytes:
        """Up to so many bytes; empty at the end."""

    def listing(self, url: str, site: Site) -> Mapping[str, Seen]:
        """What is directly in a directory, by name."""


_LOOKS: Mapping[str, Look] = MappingProxyType(
    {"": file, "file": file, "http": http, "https": http, "ftp": ftp, "ftps": ftp, "s3": s3}
)


def look_at(url: str) -> Look:
    """Raises: StagingError for a scheme that no module serves."""
    try:
        return _LOOKS[scheme_of(url)]
    except KeyError:
        raise StagingError(f"{shown(url)}: nothing can be read by {scheme_of(url)}://") from None
