"""Docker's daemon by its own HTTP interface, and where it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from typing import Any

PATIENCE_S = 10.0
PID_FILE = "/var/run/docker.pid"
OF_WORKERS = "filters=%7B%22label%22%3A%5B%22tesp.worker%22%5D%7D"
"""Selects in lists what any worker has made: `{"label":["tesp.worker"]}`."""
STEERING = ("DOCKER_DEFAULT_PLATFORM", "DOCKER_CONTENT_TRUST", "DOCKER_CUSTOM_HEADERS")
VERSION = re.compile(rb"^Server: Docker/(\S+)", re.MULTILINE | re.IGNORECASE)


class Engine:
    """The daemon's own HTTP interface, for what is small; what it cannot reach raises OSError."""

    def version(self) -> str:
        """As the daemon names itself in a header; /version starts programs. Raises: OSError, ValueError."""
        head, _ = self._exchange("GET", "/_ping")
        found = VERSION.search(head)
        if head[9:12] != b"200" or not found:
            raise ValueError("the daemon does not name its version")
        return found[1].decode()

    def get(self, path: str) -> Any:
        """The JSON answer to a GET, whatever its status. Raises: OSError, ValueError."""
        return json.loads(self.ask("GET", path)[1])

    def is_beside_us(self) -> bool:
        """Whether the daemon sees our mounts and processes: not if one of us is in a container.

        Who holds the socket may be a forwarder to one that does not.
        """
        with contextlib.suppress(OSError, ValueError), self._connected() as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid = int.from_bytes(credentials[:4], sys.byteorder)
            if pid == 1:  # systemd made the socket
                with open(PID_FILE, encoding="ascii") as file:
                    pid = int(file.read())
            if not is_daemon(pid):
                return False
            # In another namespace, even a copy of ours, all mounts have other numbers.
            return pid > 0 and not mounts_of(str(pid)).keys().isdisjoint(mounts_of("self"))
        return False

    def is_told_more(self) -> bool:
        """Whether this user has the program tell the daemon more than a task says: proxies, or a platform."""
        told = configuration()
        return any(map(os.environ.get, STEERING)) or any(map(told.get, ("proxies", "HttpHeaders")))

    def ask(
        self, method: str, path: str, order: Any = None, patience_s: float | None = PATIENCE_S
    ) -> tuple[int, bytes]:
        """The status and the body of the answer; `order` is sent as JSON. Raises: OSError, ValueError."""
        head, body = self._exchange(method, path, order, patience_s)
        return int(head[9:12]), body

    def _exchange(
        self, method: str, path: str, order: Any = None, patience_s: float | None = PATIENCE_S
    ) -> tuple[bytes, bytes]:
        given = b"" if order is None else json.dumps(order).encode()
        heads = f"Content-Type: application/json\r\nContent-Length: {len(given)}\r\n" if given else ""
        # HTTP/1.0, so that the answer is neither chunked nor kept open.
        with self.send(f"{method} {path} HTTP/1.0", heads, given, patience_s) as connection:
            return read_all(connection)

    def send(
        self, request: str, heads: str = "", given: bytes = b"", patience_s: float | None = None
    ) -> socket.socket:
        """The connection on which a request was sent, and its answer comes. Raises: OSError."""
        connection = self._connected(patience_s)
        try:
            connection.sendall(f"{request}\r\nHost: docker\r\n{heads}\r\n".encode() + given)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connected(self, patience_s: float | None = PATIENCE_S) -> socket.socket:
        host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        context = os.environ.get("DOCKER_CONTEXT") or (
            not os.environ.get("DOCKER_HOST") and configuration().get("currentContext")
        )
        if not host.startswith("unix://") or context not in (None, False, "", "default"):
            raise OSError(f"{context or host} is no local socket")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(patience_s)
            connection.connect(host[len("unix://") :])
        except BaseException:
            connection.close()
            raise
        return connection


def read_all(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head and the body of an answer, at whose end the connection is closed. Raises: OSError."""
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def configuration() -> dict[str, Any]:
    """What this user told the program; empty where that cannot be read."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            told = json.load(file)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def is_daemon(pid: int) -> bool:
    """Whether a process is Docker's daemon, by its name or by its own file. Raises: OSError, ValueError."""
    with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
        if file.read().strip() == "dockerd":
            return True
    with open(PID_FILE, encoding="ascii") as file:
        return int(file.read()) == pid


def mounts_of(process: str) -> dict[str, str]:
    """Where a process's mounts are, by their numbers, as the kernel writes it. Raises: OSError."""
    with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return {row[0]: row[4] for row in map(str.split, file)}
