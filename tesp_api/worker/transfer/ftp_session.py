"""FTP connections: plain or with TLS, passive, and byte for byte in names.

Names are sent as the bytes that the URL has: commands and answers pass ftplib as Latin-1. Over TLS
(`ftps://`: AUTH TLS, or TLS at once on port 990) a site's own authority is trusted by SSL_CERT_FILE.
"""

from __future__ import annotations

import contextlib
import ftplib
import socket
from typing import Any, Callable, NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

from . import Site
from .logins import in_words
from .retry import Denied, Passing, Refused

IMPLICIT_TLS_PORT = 990
FOREIGN = (ftplib.error_reply, ftplib.error_temp, ftplib.error_proto, EOFError)


class Address(NamedTuple):
    """What an FTP URL says; `path` begins where the login leads, unless the URL's has `//` or `/%2F`."""

    is_tls: bool
    host: str
    port: int
    user: str
    password: str
    path: str


def address_of(url: str) -> Address:
    """Raises: Refused for a URL without a host, or with names that FTP cannot send."""
    parts = urlsplit(url)
    path = _wired(parts.path[1:].partition(";type=")[0]).rstrip("/")
    user, password = _wired(parts.username or "anonymous"), _wired(parts.password or "")
    if not parts.hostname or any(sign in text for text in (path, user, password) for sign in "\r\n\0"):
        raise Refused("it names no host, or has a line break in a name, which FTP cannot send")
    is_tls = parts.scheme.lower() == "ftps"
    if user == "anonymous":
        password = password or "anonymous@"
    return Address(is_tls, parts.hostname, parts.port or 21, user, password, path)


def _wired(quoted: str) -> str:
    return unquote_to_bytes(quoted).decode("latin-1")


class _Passive(ftplib.FTP):
    """Data connections go to the server itself, whatever address it gives: it may sit behind NAT."""

    is_implicit = False
    dial: Callable[[], socket.socket]

    def connect(self, *_: Any, **__: Any) -> str:
        self.sock = self.dial()
        self.af = self.sock.family
        if isinstance(self, ftplib.FTP_TLS) and self.is_implicit:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def makepasv(self) -> tuple[str, int]:
        assert self.sock is not None  # noqa: S101 - it is connected
        try:
            _, port = ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())
        except ftplib.error_perm:
            _, port = ftplib.parse227(self.sendcmd("PASV"))
        return self.sock.getpeername()[0], port


class _PassiveTls(_Passive, ftplib.FTP_TLS):
    """TLS on both connections; the data connections resume the session, as many servers demand."""

    def ntransfercmd(self, cmd: str, rest: Any = None) -> tuple[socket.socket, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        try:
            session = self.sock.session  # type: ignore[union-attr]
            return self.context.wrap_socket(connection, server_hostname=self.host, session=session), size
        except BaseException:
            connection.close()
            raise


class Session:
    """A connection that is made when it is needed, and made anew after a failure."""

    def __init__(self, url: str, site: Site) -> None:
        self._url = url
        self._site = site
        self._ftp: ftplib.FTP | None = None

    def connected(self) -> ftplib.FTP:
        """Logged in, in binary mode. Raises: Refused, OSError, EOFError, ftplib's errors."""
        if self._ftp is None:
            address, site = address_of(self._url), self._site
            scheme = "ftps" if address.is_tls else "ftp"
            site.guard.require(self._url, scheme, address.host, address.port)
            ftp = self._ftp = _unconnected(address, site.patience.stall_s)
            ftp.host, ftp.port = address.host, address.port
            place = (self._url, address.host, address.port, site.patience.stall_s)
            ftp.dial = lambda: site.guard.connect(*place)
            ftp.connect()
            if isinstance(ftp, _PassiveTls) and not ftp.is_implicit:
                ftp.auth()
                if ftp.sock is not None:
                    site.guard.opened(ftp.sock)
            self._log_in(ftp, address)
            if isinstance(ftp, ftplib.FTP_TLS):
                ftp.prot_p()
            ftp.voidcmd("TYPE I")
        return self._ftp

    def _log_in(self, ftp: ftplib.FTP, address: Address) -> None:
        """With the login that is lent for the URL, else with the URL's own. Raises: Denied."""
        login = self._site.lender.login_for(self._url)
        user, password = address.user, address.password
        if login is not None:
            user, password = (_wired(quote(text)) for text in (login.username, login.password))
        try:
            ftplib.FTP.login(ftp, user, password)
        except ftplib.error_perm as error:
            raise Denied(f"{said(error)}, {in_words(self._url, self._site)}") from error

    def close(self) -> None:
        if self._ftp is not None:
            self._ftp.close()
            self._ftp = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unconnected(address: Address, stall_s: float) -> _Passive:
    if not address.is_tls:
        return _Passive(timeout=stall_s, encoding="latin-1")
    import ssl

    ftp = _PassiveTls(context=ssl.create_default_context(), timeout=stall_s, encoding="latin-1")
    ftp.is_implicit = address.port == IMPLICIT_TLS_PORT
    return ftp


def said(error: ftplib.Error) -> str:
    """The server's answer as text."""
    return str(error).encode("latin-1", "replace").decode("utf-8", "replace")


def size_of(ftp: ftplib.FTP, path: str) -> int | None:
    """The size that the server tells one way or another; None if it tells none."""
    with contextlib.suppress(ftplib.error_perm, ValueError):
        return ftp.size(path)
    with contextlib.suppress(ftplib.error_perm, ValueError):
        facts = ftp.voidcmd(f"MLST {path}").lower()
        return int(facts.partition("size=")[2].partition(";")[0])
    return None


def version_of(ftp: ftplib.FTP, path: str, size: int | None) -> str:
    """Size and time of change, which tell one version of a file from the next; "" if not both are told."""
    try:
        return f"{size} {ftp.voidcmd(f'MDTM {path}')}" if size is not None else ""
    except ftplib.error_perm:
        return ""


def end_transfer(ftp: ftplib.FTP) -> None:
    """Hear the server's last word on a transfer. Raises: Passing unless it says that all went well."""
    answer = ftp.getmultiline()
    if not answer.startswith("2"):
        raise Passing(said(ftplib.Error(answer)))
