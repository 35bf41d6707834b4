"""The guard: lets transfers connect only to where the rules allow it.

It resolves names itself and connects to an address that it has looked at, so that a name server that
answers differently the next time gains nothing.
"""

from __future__ import annotations

import socket
from fnmatch import fnmatchcase
from functools import lru_cache

from ..errors import StagingError
from ..rules import Rules, host_name
from ..urls import shown


class Guard(Rules):
    """The rules, applied. One that is made without any denies what is denied by default."""

    __slots__ = ()

    def require(self, url: str, scheme: str, host: str, port: int) -> None:
        """Raises: StagingError if the names in the URL are refused."""
        fault = _name_fault(self, scheme, host, port)
        if fault:
            raise StagingError(f"{shown(url)}: {fault}")

    def opened(self, connection: socket.socket) -> None:
        """Told of each connection once it is there, and again once it speaks TLS. Does nothing here."""

    def connect(self, url: str, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connection for `url` to the first address of the host that is allowed and answers.

        Raises: StagingError if none is allowed, OSError if none answers.
        """
        name = host_name(host)
        is_trusted = _is_trusted(self, name, port)
        fault, failure = "", None
        for family, kind, protocol, _, address in socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM):
            found = "" if is_trusted else self.address_fault(str(address[0]))
            if found:
                fault = fault or found
                continue
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(timeout_s)
                connection.connect(address)
                self.opened(connection)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            except OSError as error:
                connection.close()
                failure = error
        if failure is not None:
            raise failure
        raise StagingError(f"{shown(url)}: {fault or 'its host has no address'}")


@lru_cache(maxsize=1024)
def _name_fault(guard: Guard, scheme: str, host: str, port: int) -> str:
    if _is_trusted(guard, host_name(host), port):
        return ""
    return guard.scheme_fault(scheme) or guard.host_fault(host)


def _is_trusted(guard: Guard, name: str, port: int) -> bool:
    return any(fnmatchcase(f"{name}:{port}", pattern) for pattern in guard.trusted)
