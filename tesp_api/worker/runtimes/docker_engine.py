"""Docker's daemon by its own HTTP interface, and where it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from typing import Any

PID_FILE = "/var/run/docker.pid"
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

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """The status and the body of the answer. Raises: OSError, ValueError."""
        head, body = self._exchange(method, path)
        return int(head[9:12]), body

    def _exchange(self, method: str, path: str) -> tuple[bytes, bytes]:
        with self._connected() as connection:
            # HTTP/1.0, so that the answer is neither chunked nor kept open.
            connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body

    def _connected(self) -> socket.socket:
        host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        if not host.startswith("unix://") or os.environ.get("DOCKER_CONTEXT"):
            raise OSError(f"{host} is no local socket")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(10)
            connection.connect(host[len("unix://") :])
        except BaseException:
            connection.close()
            raise
        return connection


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
