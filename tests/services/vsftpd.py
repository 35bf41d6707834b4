"""A real vsftpd: plain, with TLS after AUTH, or with TLS at once; it knows LIST alone, and no MLSD.

Users are in a file of its own: it is started where that stands for the machine's PAM services.
"""

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.services.authority import Authority
from tests.services.containers import ServiceUnavailable
from tests.services.nginx import PASSWORD, USER, USERINFO
from tests.services.tesp import free_port, poll

ADDRESS = "127.0.0.1"
IMPLICIT_PORT = 990
READER = "reader"
READERS_INFO = USERINFO.replace(USER, READER)
_PAM = """
auth required pam_pwdfile.so nodelay pwdfile={folder}/users
account required pam_permit.so
session required pam_permit.so
"""
_START = 'mount --bind "$0/pam.d" /etc/pam.d && exec "$1" "$0/vsftpd.conf"'


def free_ports(count: int = 16) -> range:
    """Ports in a row that nobody listens on now."""
    while True:
        first = free_port()
        ports = range(first, first + count)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            for port in ports:
                stack.enter_context(socket.create_server((ADDRESS, port)))
            return ports


class Vsftpd:
    """`with Vsftpd(authority, "explicit") as server:`; its files are in `server.root`.

    Data connections must resume the TLS session, and go to `passive_ports`. READER only reads,
    USER writes as well; both have one password.
    """

    def __init__(
        self,
        authority: Authority | None = None,
        tls: Literal["none", "explicit", "implicit"] = "none",
    ) -> None:
        self.authority = authority
        self.tls = tls
        self.port = IMPLICIT_PORT if tls == "implicit" else free_port()
        self.passive_ports = free_ports()
        self.scheme = "ftp" if tls == "none" else "ftps"
        self._temporary = tempfile.TemporaryDirectory(prefix="tesp-vsftpd-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.root = self.folder / "root"
        self.root.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, path: str, userinfo: str = USERINFO, host: str = ADDRESS) -> str:
        return f"{self.scheme}://{userinfo and userinfo + '@'}{host}:{self.port}/{path}"

    def has_resumed(self) -> bool:
        """Whether somebody has asked for the rest of a file."""
        return re.search(r"\WREST [1-9]", (self.folder / "log").read_text()) is not None

    def _settings(self) -> dict[str, str]:
        settings = {
            "listen": "YES",
            "background": "NO",
            "listen_address": ADDRESS,
            "listen_port": str(self.port),
            "pasv_min_port": str(self.passive_ports[0]),
            "pasv_max_port": str(self.passive_ports[-1]),
            "pam_service_name": "vsftpd",
            "secure_chroot_dir": f"{self.folder}/empty",
            "anonymous_enable": "NO",
            "user_config_dir": f"{self.folder}/users.d",
            "local_enable": "YES",
            "guest_enable": "YES",
            "guest_username": "ftp",
            "local_root": str(self.root),
            "write_enable": "YES",
            "virtual_use_local_privs": "YES",
            "chroot_local_user": "YES",
            "allow_writeable_chroot": "YES",
            "delay_failed_login": "0",
            "log_ftp_protocol": "YES",
            "xferlog_enable": "YES",
            "vsftpd_log_file": f"{self.folder}/log",
        }
        if self.authority:
            settings |= {
                "ssl_enable": "YES",
                "force_local_logins_ssl": "YES",
                "force_local_data_ssl": "YES",
                "require_ssl_reuse": "YES",
                "ssl_ciphers": "HIGH",
                "rsa_cert_file": str(self.authority.certificate),
                "rsa_private_key_file": str(self.authority.private_key),
                "implicit_ssl": "YES" if self.tls == "implicit" else "NO",
            }
        return settings

    def _prepare(self) -> None:
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, text=True, capture_output=True, check=True
        )
        (self.folder / "users").write_text(f"{USER}:{hashed.stdout}{READER}:{hashed.stdout}")
        for name in ("pam.d", "empty", "users.d"):
            (self.folder / name).mkdir()
        (self.folder / "pam.d" / "vsftpd").write_text(_PAM.format(folder=self.folder))
        (self.folder / "users.d" / READER).write_text("write_enable=NO\n")
        lines = [f"{name}={value}\n" for name, value in self._settings().items()]
        (self.folder / "vsftpd.conf").write_text("".join(lines))
        self.folder.chmod(0o755)
        self.own(self.root)

    def own(self, *paths: Path) -> None:
        """Give files, and what is below, to the user that vsftpd runs as."""
        owner = pwd.getpwnam("ftp")
        for path in paths:
            for below in (path, *path.rglob("*")):
                os.chown(below, owner.pw_uid, owner.pw_gid, follow_symlinks=False)

    def __enter__(self) -> Self:
        program = shutil.which("vsftpd", path=f"/usr/sbin:{os.environ['PATH']}")
        if program is None:
            raise ServiceUnavailable("vsftpd is not installed: make test-services does it")
        self._prepare()
        apart = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            _START,
            str(self.folder),
            program,
        ]
        self._process = subprocess.Popen(apart, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            poll(self._answers, timeout_s=20, why="vsftpd does not answer")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"vsftpd ended with {self._process.returncode}"
        with socket.socket() as probe:
            return probe.connect_ex((ADDRESS, self.port)) == 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._temporary.cleanup()
