"""What was sent may lie in the system's buffers for long: megabytes, on a line of kilobytes a second."""

from __future__ import annotations

import array
import fcntl
import select
import socket
import termios
import time


def wait_until_sent(connection: socket.socket, stall_s: float) -> None:
    """Wait as long as the other side takes what is left; returns early if it says something.

    Raises: socket.timeout if it takes nothing for `stall_s`.
    """
    left, since, pause_s = _unsent_bytes(connection), time.monotonic(), 0.002
    answered = select.poll()  # select() knows no descriptors above 1,023, of which a gateway has many
    answered.register(connection, select.POLLIN)
    while left:
        if answered.poll(1000 * pause_s):
            return
        now = _unsent_bytes(connection)
        if now < left:
            left, since = now, time.monotonic()
        elif time.monotonic() - since > stall_s:
            raise socket.timeout(f"it took nothing for {stall_s:g} s")
        pause_s = min(2 * pause_s, 0.2)


def _unsent_bytes(connection: socket.socket) -> int:
    """How much the other side has not acknowledged; 0 where the system does not say."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, count)
    except OSError:
        return 0
    return count[0]
