"""An HTTP server on loopback that serves and takes files, and that can hold requests back at a gate."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Self

TRICKLE_BYTES = 64 * 1024
HELD_MAX_S = 120.0


class GatedHttp:
    """GET and PUT of `files` by path. Requests for a path in `held` wait until it is no more, or `open_gate`.

    `waiting` holds the paths that are being waited for now. What is in `trickled` comes, until then, as a
    trickle of a megabyte or so a second.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.held: set[str] = set()
        self.trickled: set[str] = set()
        self.waiting: set[str] = set()
        self.puts: list[str] = []
        self._gate = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def open_gate(self) -> None:
        """Let every request through, now and later."""
        self._gate.set()

    def _pass(self, path: str) -> None:
        if path in self.held:
            self.waiting.add(path)
            deadline = time.monotonic() + HELD_MAX_S
            while path in self.held and time.monotonic() < deadline and not self._gate.wait(0.05):
                pass
            self.waiting.discard(path)

    def _write(self, path: str, data: bytes, to: BufferedIOBase) -> None:
        sent = 0
        while path in self.trickled and sent < len(data) and not self._gate.wait(0.05):
            to.write(data[sent : sent + TRICKLE_BYTES])
            sent += TRICKLE_BYTES
        to.write(data[sent:])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the client was killed, say
                    super().handle()

            def do_GET(self) -> None:
                outer._pass(self.path)
                data = outer.files.get(self.path)
                self.send_response(200 if data is not None else 404)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                outer._write(self.path, data or b"", self.wfile)

            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                outer._pass(self.path)
                outer.files[self.path] = data
                outer.puts.append(self.path)
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open_gate()
        self._server.shutdown()
        self._server.server_close()
