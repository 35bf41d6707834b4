"""Real HTTP servers that list directories: nginx (HTML and JSON), Apache, Python."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KINDS = ("python", "nginx", "nginx-json", "apache")
_APACHE_MODULES = Path("/usr/lib/apache2/modules")


@contextmanager
def listing_server(kind: str, root: Path, folder: Path) -> Iterator[str]:
    """The URL at which a server of one of KINDS shows `root`; `folder` is for its own files."""
    port = _free_port()
    folder.mkdir()
    if kind == "python":
        argv = [
            sys.executable,
            "-m",
            "http.server",
            str(port),
            "--bind",
            "127.0.0.1",
            "--directory",
            str(root),
        ]
    elif kind == "apache":
        argv = [_program("apache2"), "-X", "-d", str(folder), "-f", str(_apache_settings(root, folder, port))]
    else:
        settings = _nginx_settings(root, folder, port, "json" if kind == "nginx-json" else "html")
        argv = [_program("nginx"), "-p", str(folder), "-c", str(settings)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=folder
    )
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _program(name: str) -> str:
    found = shutil.which(name, path=f"/usr/sbin:{os.environ['PATH']}")
    if found is None:
        pytest.fail(f"{name} is not installed: make test-services does it")
    return found


def _nginx_settings(root: Path, folder: Path, port: int, style: str) -> Path:
    path = folder / "nginx.conf"
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}\n"
        f"events {{}}\n"
        f"http {{ access_log off; {paths}\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; autoindex_format {style}; }} }}\n"
    )
    return path


def _apache_settings(root: Path, folder: Path, port: int) -> Path:
    path = folder / "apache.conf"
    modules = ("mpm_event", "authz_core", "dir", "autoindex")
    path.write_text(
        "".join(f"LoadModule {name}_module {_APACHE_MODULES}/mod_{name}.so\n" for name in modules)
        + f"ServerName localhost\nListen 127.0.0.1:{port}\n"
        f"PidFile {folder}/pid\nErrorLog {folder}/error.log\n"
        f'DefaultRuntimeDir {folder}\nDocumentRoot "{root}"\n'
        f'<Directory "{root}">\nOptions Indexes\nIndexOptions FancyIndexing HTMLTable Charset=UTF-8\n'
        "IndexIgnore .ht*\nRequire all granted\n</Directory>\n"
    )
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert server.poll() is None, f"the server ended with {server.returncode}"
            time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")
