"""Many followers of streams in a process of its own, which reads what comes and throws it away.

`python -m bench.followers PORT COUNT PATH [COUNT PATH ...]` prints `ready` once all streams have begun, and
when its stdin ends, how many there were, how many of them the server had closed, and how many bytes came.

It stands for a thousand machines, so it must not take the server's processors: it has the lowest priority
(nice 19), and does nothing but read bytes.
"""

import os
import select
import socket
import sys
from dataclasses import dataclass

_PIECE_BYTES = 64 * 1024
_PATIENCE_S = 60.0


@dataclass
class Seen:
    """What all followers got."""

    streams: int = 0
    bytes: int = 0
    closed: int = 0


def begin(port: int, path: str, seen: Seen) -> socket.socket:
    """A stream that has begun."""
    connection = socket.create_connection(("127.0.0.1", port), _PATIENCE_S)
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
    connection.sendall(request.encode())
    answer = connection.recv(_PIECE_BYTES)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer[:300].decode(errors="replace"))
    seen.streams += 1
    seen.bytes += len(answer)
    connection.setblocking(False)
    return connection


def read_until_stdin_ends(connections: list[socket.socket], seen: Seen) -> None:
    """Whatever comes."""
    buffer = bytearray(_PIECE_BYTES)
    by_descriptor = {one.fileno(): one for one in connections}
    waiting = select.epoll()
    for descriptor in by_descriptor:
        waiting.register(descriptor, select.EPOLLIN)
    waiting.register(sys.stdin.fileno(), select.EPOLLIN)
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor == sys.stdin.fileno():
                return
            try:
                count = by_descriptor[descriptor].recv_into(buffer)
            except OSError:
                count = 0
            seen.bytes += count
            if not count:
                seen.closed += 1
                waiting.unregister(descriptor)


def main() -> None:
    """See above."""
    os.nice(19)
    port, *rest = sys.argv[1:]
    seen = Seen()
    paths = [path for count, path in zip(rest[::2], rest[1::2], strict=True) for _ in range(int(count))]
    connections = [begin(int(port), path, seen) for path in paths]
    print("ready", flush=True)
    read_until_stdin_ends(connections, seen)
    print(seen.streams, seen.closed, seen.bytes, flush=True)


if __name__ == "__main__":
    main()
