"""A TCP load balancer: each new connection goes to the first of its servers that takes it."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Balancer:
    """`with Balancer() as balancer:`; `balancer.ports` are the servers, in the order in which they are tried.

    A server that hangs takes connections all the same: whoever stops one takes it out of `ports`.
    """

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            for port in list(self.ports):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as server:
                    server.settimeout(None)
                    back = threading.Thread(target=_pour, args=(server, client), daemon=True)
                    back.start()
                    _pour(client, server)
                    back.join()
                    return


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
