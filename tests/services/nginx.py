"""A real nginx that takes files by PUT and lists directories; with TLS or as another user, if asked to."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.authority import Authority
from tests.services.containers import ServiceUnavailable
from tests.services.tesp import free_port, poll

USER, PASSWORD = "lab", "hush: @/#1"
USERINFO = "lab:hush%3A%20%40%2F%231"

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_SETTINGS = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{}}
http {{
    log_format told escape=none '$request_method $status $http_range $http_if_range';
    access_log {folder}/access.log told;
    client_max_body_size 0; {temporary}
    server {{
        listen 127.0.0.1:{port} {tls};
        root {root};
        autoindex on;
        dav_methods PUT;
        create_full_put_path on;
        location /json/ {{ alias {root}/; autoindex_format json; }}
        location /read-only/ {{ alias {root}/; dav_methods off; }}
        location /private/ {{ auth_basic private; auth_basic_user_file {folder}/users; }}
    }}
}}
"""


class Nginx:
    """`with Nginx() as server:`; its files are in `server.root`.

    /json/ shows the same directories as JSON, /read-only/ takes no files, and /private/ asks for a login.
    `user` runs all of it as somebody else than root.
    """

    def __init__(self, authority: Authority | None = None, *, user: str | None = None) -> None:
        self.authority = authority
        self.user = user
        self.port = free_port()
        self.scheme = "https" if authority else "http"
        self._temporary = tempfile.TemporaryDirectory(prefix="tesp-nginx-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.root = self.folder / "root"
        self.root.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, path: str, userinfo: str = "", port: int | None = None) -> str:
        return f"{self.scheme}://{userinfo and userinfo + '@'}127.0.0.1:{port or self.port}/{path}"

    def has_resumed(self) -> bool:
        """Whether it has sent the rest of a file that was asked for with Range and If-Range."""
        return (
            re.search(r'^GET 206 bytes=[1-9]\d*- "', (self.folder / "access.log").read_text(), re.M)
            is not None
        )

    def _write_settings(self) -> Path:
        hashed = subprocess.run(
            ["openssl", "passwd", "-apr1", "-stdin"],
            input=PASSWORD,
            text=True,
            capture_output=True,
            check=True,
        )
        (self.folder / "users").write_text(f"{USER}:{hashed.stdout}")
        tls = ""
        if self.authority:
            for name, file in (
                ("tls.pem", self.authority.certificate),
                ("tls.key", self.authority.private_key),
            ):
                (self.folder / name).write_bytes(file.read_bytes())
            tls = f"ssl; ssl_certificate {self.folder}/tls.pem; ssl_certificate_key {self.folder}/tls.key"
        settings = self.folder / "nginx.conf"
        settings.write_text(
            _SETTINGS.format(
                folder=self.folder,
                root=self.root,
                port=self.port,
                tls=tls,
                user="user root;" if os.geteuid() == 0 and self.user is None else "",
                temporary="".join(f"{name}_temp_path {self.folder}/{name};" for name in _TEMPORARY),
            )
        )
        if self.user:
            owner = pwd.getpwnam(self.user)
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        return settings

    def __enter__(self) -> Self:
        program = shutil.which("nginx", path=f"/usr/sbin:{os.environ['PATH']}")
        if program is None:
            raise ServiceUnavailable("nginx is not installed: make test-services does it")
        argv = [
            program,
            "-p",
            str(self.folder),
            "-c",
            str(self._write_settings()),
            "-e",
            f"{self.folder}/error.log",
        ]
        self._process = subprocess.Popen(
            argv,
            user=self.user,
            group=self.user and pwd.getpwnam(self.user).pw_gid,
            stderr=subprocess.DEVNULL,
        )
        try:
            poll(self._answers, timeout_s=20, why="nginx does not answer")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        log = self.folder / "error.log"
        assert self._process.poll() is None, log.read_text() if log.exists() else "nginx ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._temporary.cleanup()
