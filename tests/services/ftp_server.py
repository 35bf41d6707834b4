"""A real FTP server, plain or with TLS, and an authority that signs its certificate."""

import datetime
import ipaddress
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

USER, PASSWORD = "lab user", "hush: @/#1"
USERINFO = "lab%20user:hush%3A%20%40%2F%231"


def make_certificate(folder: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tesp test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


class FtpServer:
    """`with FtpServer(folder) as server:`; anonymous users read, USER writes as well.

    `certificate` makes it speak TLS only; `refused` are commands that it does not know.
    """

    def __init__(
        self, root: Path, certificate: Path | None = None, refused: tuple[str, ...] = (), **handler: Any
    ) -> None:
        authorizer = DummyAuthorizer()
        authorizer.add_anonymous(str(root))
        authorizer.add_user(USER, PASSWORD, str(root), perm="elradfmwMT")
        base = TLS_FTPHandler if certificate else FTPHandler
        settings: dict[str, Any] = {
            "authorizer": authorizer,
            "timeout": 30,
            "auth_failed_timeout": 0,
            **handler,
        }
        if certificate:
            settings |= {
                "certfile": str(certificate),
                "tls_control_required": True,
                "tls_data_required": True,
            }
        known = {name: value for name, value in base.proto_cmds.items() if name not in refused}
        self.commands: list[str] = []
        commands = self.commands

        class Handler(base):  # type: ignore[misc, valid-type]
            proto_cmds = known

            def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
                commands.append(cmd)
                super().pre_process_command(line, cmd, arg)

        for name, value in settings.items():
            setattr(Handler, name, value)
        self._loop = IOLoop()
        self._server = FTPServer(("127.0.0.1", 0), Handler, ioloop=self._loop)
        self.port = int(self._server.address[1])
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def url(self, path: str, userinfo: str = USERINFO, port: int | None = None) -> str:
        return f"ftp://{userinfo}@127.0.0.1:{port or self.port}/{path}"

    def _serve(self) -> None:
        while not self._ending.is_set():
            self._loop.loop(0.02, blocking=False)
        self._server.close_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
