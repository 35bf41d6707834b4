"""The bell of a site on this machine: an abstract Unix datagram socket to which workers send job ids."""

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

RING_MAX_BYTES = 512
RINGS_AT_ONCE = 64


def doorbell_name(folder: Path) -> str:
    """The same name at every start, so that a worker that outlives the server rings the next one."""
    owner = f"{os.getuid()}:{folder.resolve()}"
    return f"tesp-{hashlib.sha256(owner.encode()).hexdigest()[:16]}"


class Doorbell:
    """Calls `heard` with the text of every datagram that is sent to the abstract socket `name`.

    Anybody on the machine can ring: a ring is a hint to look, never a fact.
    """

    def __init__(self, name: str, heard: Callable[[str], None]) -> None:
        self.name = name
        self._heard = heard
        self._socket: socket.socket | None = None

    def open(self) -> bool:
        """Begin to listen on the running loop; False if another process has the name."""
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        bell.setblocking(False)
        try:
            bell.bind("\0" + self.name)
        except OSError as exc:
            bell.close()
            log.warning("nobody can ring at %s (%s): looking for news by polling", self.name, exc.strerror)
            return False
        self._socket = bell
        asyncio.get_running_loop().add_reader(bell.fileno(), self._drain, bell)
        return True

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _drain(self, bell: socket.socket) -> None:
        for _ in range(RINGS_AT_ONCE):  # a flood must not keep the loop from everything else
            try:
                ring = bell.recv(RING_MAX_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            self._heard(ring.decode("ascii", errors="replace"))
