"""A TCP proxy that cuts, stalls, truncates or corrupts what a server sends or is sent, at byte N.

Of FTP it also carries the data connections, by changing the ports in the answers to PASV and EPSV.
"""

import contextlib
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

_PASV = re.compile(rb"(227 [^(]*\()(\d+,\d+,\d+,\d+),(\d+),(\d+)\)")
_EPSV = re.compile(rb"(229 [^(]*\(\|\|\|)(\d+)\|\)")
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens once `at_byte` bytes went one way; `up` is from the client to the server.

    `cut` resets the connection, `truncate` ends it as if all were said, `stall` keeps it open in
    silence, `corrupt` turns the bits of the next byte around, and the rest follows.
    """

    kind: Literal["cut", "truncate", "stall", "corrupt"]
    at_byte: int
    way: Literal["down", "up"] = "down"


class FaultyProxy:
    """`with FaultyProxy(port) as proxy:`; clients speak to `proxy.port`, at 127.0.0.1 unless `at` says else.

    Each connection takes the next of `faults` (None: none); when there are no more, `always`. For FTP
    these are the data connections, and `control_faults` are those of the others.
    """

    def __init__(
        self,
        upstream_port: int,
        *faults: Fault | None,
        always: Fault | None = None,
        at: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.faults = deque(faults)
        self.always = always
        self.control_faults: deque[Fault | None] = deque()
        self.is_ftp = False
        self.connections = 0
        self._upstream_port = upstream_port
        self._closing = threading.Event()
        self._listeners: list[socket.socket] = []
        self.port = self._listen(upstream_port, self._first_fault, repeats=True, at=at)

    def _first_fault(self) -> Fault | None:
        if self.is_ftp:
            return self.control_faults.popleft() if self.control_faults else None
        return self._next_fault()

    def _next_fault(self) -> Fault | None:
        return self.faults.popleft() if self.faults else self.always

    def _listen(
        self,
        upstream_port: int,
        fault: Callable[[], Fault | None],
        *,
        repeats: bool,
        at: tuple[str, int] = ("127.0.0.1", 0),
    ) -> int:
        listener = socket.create_server(at)
        self._listeners.append(listener)

        def accept() -> None:
            while not self._closing.is_set():
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                self.connections += 1
                is_control = self.is_ftp and repeats
                threading.Thread(
                    target=self._carry, args=(client, upstream_port, fault(), is_control), daemon=True
                ).start()
                if not repeats:
                    listener.close()
                    return

        threading.Thread(target=accept, daemon=True).start()
        return int(listener.getsockname()[1])

    def _carry(self, client: socket.socket, port: int, fault: Fault | None, is_control: bool) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", port))
        except OSError:
            client.close()
            return
        down = fault if fault and fault.way == "down" else None
        up = fault if fault and fault.way == "up" else None
        is_cut = threading.Event()
        threads = [
            threading.Thread(target=self._pump, args=(server, client, down, is_control, is_cut), daemon=True),
            threading.Thread(target=self._pump, args=(client, server, up, False, is_cut), daemon=True),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        server.close()

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        fault: Fault | None,
        ports: bool,
        is_cut: threading.Event,
    ) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                if ports:
                    data = self._with_own_ports(data)
                if fault and passed + len(data) > fault.at_byte:
                    at = max(0, fault.at_byte - passed)
                    spoiled = self._spoil(fault, data, at, source, target, is_cut)
                    if spoiled is None:
                        return
                    data, fault = spoiled, None
                target.sendall(data)
                passed += len(data)
            if not is_cut.is_set():
                target.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, target):
                _shut(end)

    def _spoil(
        self,
        fault: Fault,
        data: bytes,
        at: int,
        source: socket.socket,
        target: socket.socket,
        is_cut: threading.Event,
    ) -> bytes | None:
        """What to send instead; None when nothing more is to be said."""
        if fault.kind == "corrupt":
            return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        target.sendall(data[:at])
        if fault.kind == "truncate" and fault.way == "up":
            target.shutdown(socket.SHUT_WR)
            while source.recv(65536):  # the client notices nothing
                pass
        elif fault.kind == "cut":  # both connections are reset when they are closed
            is_cut.set()
            for end in (source, target):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RD)
        else:
            if fault.kind == "stall":
                self._closing.wait(60)
            for end in (source, target):
                _shut(end)
        return None

    def _with_own_ports(self, data: bytes) -> bytes:
        def pasv(found: re.Match[bytes]) -> bytes:
            port = self._listen(int(found[3]) * 256 + int(found[4]), self._next_fault, repeats=False)
            return b"%s10,9,8,7,%d,%d)" % (found[1], port // 256, port % 256)

        def epsv(found: re.Match[bytes]) -> bytes:
            return b"%s%d|)" % (found[1], self._listen(int(found[2]), self._next_fault, repeats=False))

        return _EPSV.sub(epsv, _PASV.sub(pasv, data))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for listener in self._listeners:
            _shut(listener)
            listener.close()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
