"""What was sent may lie in the system's buffers for long: megabytes, on a line of kilobytes a second."""

from __future__ import annotations

import array
import fcntl
import select
import socket
import termios


def wait_until_sent(connection: socket.socket, stall_s: float) -> None:
    """Wait as long as the other side takes what is left; returns early if it says something.

    Raises: socket.timeout if it takes nothing for `stall_s`.
    """
    left = _unsent_bytes(connection)
    while left:
        if select.select([connection], [], [], stall_s)[0]:
            return
        now = _unsent_bytes(connection)
        if now >= left:
            raise socket.timeout(f"it took nothing for {stall_s:g} s")
        left = now


def _unsent_bytes(connection: socket.socket) -> int:
    """How much the other side has not acknowledged; 0 where the system does not say."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, count)
    except OSError:
        return 0
    return count[0]
