"""A network link that can be cut: a TCP proxy that refuses connections, or swallows them in silence."""

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)


class Link:
    """`with Link(port) as link:`; clients speak to `link.port` instead, both on loopback.

    `refuse` is what a host does whose service is gone, `stall` what a network does that loses all packets:
    nobody is told anything, and what was sent arrives once it is healed. With `healed(forgets=True)` it does
    not: connections from before stay silent for ever, as after a router was restarted, and new ones work.
    With `resets`, the router answers what is sent over one of before with a reset.
    """

    def __init__(self, upstream_port: int, port: int = 0, *, resets: bool = False) -> None:
        self._upstream_port = upstream_port
        self._resets = resets
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._forgotten: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._listen()

    def refuse(self) -> None:
        """Reset all connections, and take no new ones."""
        _close(self._listener)
        with self._lock:
            for end in self._open:
                self._reset(end)

    def stall(self) -> None:
        """Let nothing through; connections seem to stay open, and new ones seem to be made."""
        self._flows.clear()

    def heal(self, *, forgets: bool = False) -> None:
        """Let everything through again; with `forgets`, only what is new."""
        with self._lock:
            if forgets:
                self._forgotten |= self._open
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
            self._listen()
        self._flows.set()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with self._lock:
            self._open.add(client)
        self._flows.wait()
        try:
            if client in self._forgotten:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream_port))
        except OSError:
            self._drop(client)
            return
        with self._lock:
            self._open.add(server)
        ways = [
            threading.Thread(target=self._pump, args=pair, daemon=True)
            for pair in ((client, server), (server, client))
        ]
        for way in ways:
            way.start()
        for way in ways:
            way.join()
        if client not in self._forgotten:
            self._drop(client, server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._flows.wait()
                if source in self._forgotten:
                    if self._resets:
                        self._reset(source)
                    return
                target.sendall(data)
            self._flows.wait()
            if source not in self._forgotten:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            self._flows.wait()
            if source not in self._forgotten:
                _shut(source)
                _shut(target)

    def _drop(self, *ends: socket.socket) -> None:
        with self._lock:
            for end in ends:
                self._open.discard(end)
                end.close()

    def _reset(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        _shut(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forgotten.clear()
        self._flows.set()
        self.refuse()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _close(listener: socket.socket) -> None:
    _shut(listener)  # ends the thread that waits for connections
    listener.close()
