"""The real HTTP and FTP servers, each seen in the same way by the tests that all of them have to pass."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.services.authority import Authority
from tests.services.faulty_proxy import Fault, FaultyProxy
from tests.services.ftp_server import FtpServer
from tests.services.nginx import Nginx
from tests.services.vsftpd import READERS_INFO, Vsftpd

KINDS = ("nginx", "nginx-tls", "nginx-nobody", "vsftpd", "vsftpd-explicit", "vsftpd-implicit", "pyftpdlib")
WRONG = "lab:hushhush"
ELSEWHERE = "127.0.0.2"

Url = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class RealServer:
    """`url` names what may be read and written, `read_only_url` the same where nothing may be written.

    `through` takes faults, for the connections that carry files, and gives the URLs that meet with them.
    """

    kind: str
    root: Path
    url: Url
    read_only_url: Url
    wrong_login_url: Url
    through: Callable[..., AbstractContextManager[Url]]
    has_resumed: Callable[[], bool]
    own: Callable[[Path], None] = lambda path: None
    ca: Path | None = None

    @property
    def is_ftp(self) -> bool:
        return not self.kind.startswith("nginx")


@contextlib.contextmanager
def real_server(kind: str, folder: Path) -> Iterator[RealServer]:
    """A server of one of KINDS; `folder` is for what it needs."""
    authority = Authority(folder / "authority")
    name, _, manner = kind.partition("-")
    with contextlib.ExitStack() as stack:
        if name == "nginx":
            nginx = Nginx(
                authority if manner == "tls" else None, user="nobody" if manner == "nobody" else None
            )
            yield _seen_nginx(kind, stack.enter_context(nginx))
        elif name == "vsftpd":
            vsftpd = Vsftpd(authority if manner else None, manner or "none")  # type: ignore[arg-type]
            yield _seen_vsftpd(kind, stack.enter_context(vsftpd))
        else:
            root = folder / "root"
            root.mkdir()
            yield _seen_pyftpdlib(kind, root, stack.enter_context(FtpServer(root)))


def _seen_nginx(kind: str, server: Nginx) -> RealServer:
    @contextlib.contextmanager
    def through(*faults: Fault) -> Iterator[Url]:
        with FaultyProxy(server.port, *faults) as proxy:
            yield lambda path: server.url(path, port=proxy.port)

    return RealServer(
        kind,
        server.root,
        server.url,
        lambda path: server.url(f"read-only/{path}"),
        lambda path: server.url(f"private/{path}", WRONG),
        through,
        server.has_resumed,
        ca=_ca(server.authority),
    )


def _seen_vsftpd(kind: str, server: Vsftpd) -> RealServer:
    @contextlib.contextmanager
    def through(*faults: Fault) -> Iterator[Url]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(FaultyProxy(server.port, at=(ELSEWHERE, server.port)))
            pending = deque[Fault | None](faults)
            for port in server.passive_ports:  # nothing in the answers needs to change, which TLS would hide
                proxy = stack.enter_context(FaultyProxy(port, at=(ELSEWHERE, port)))
                proxy.faults = pending
            yield lambda path: server.url(path, host=ELSEWHERE)

    return RealServer(
        kind,
        server.root,
        server.url,
        lambda path: server.url(path, READERS_INFO),
        lambda path: server.url(path, WRONG),
        through,
        server.has_resumed,
        server.own,
        _ca(server.authority),
    )


def _seen_pyftpdlib(kind: str, root: Path, server: FtpServer) -> RealServer:
    @contextlib.contextmanager
    def through(*faults: Fault) -> Iterator[Url]:
        with FaultyProxy(server.port, *faults) as proxy:
            proxy.is_ftp = True
            yield lambda path: server.url(path, port=proxy.port)

    return RealServer(
        kind,
        root,
        server.url,
        lambda path: server.url(path, userinfo=""),
        lambda path: server.url(path, WRONG),
        through,
        lambda: "REST" in server.commands,
    )


def _ca(authority: Authority | None) -> Path | None:
    return authority.ca if authority else None
