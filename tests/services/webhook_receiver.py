"""A receiver of webhooks on loopback: keeps what comes, answers as it is told to, and can be away."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.services.tesp import free_port

HANGS_MAX_S = 120.0


@dataclass(frozen=True)
class Message:
    """A request as it came, and the status that it was answered with."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    at: float


class WebhookReceiver:
    """`with WebhookReceiver() as receiver:`; or `start` and `stop`, always at the same port.

    `answers` has by path the statuses of the next answers, the last of which stays; others get 204. What is
    in `hanging` is not answered. `redirects_to` is where a 302 leads.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.answers: dict[str, list[int]] = {}
        self.hanging: set[str] = set()
        self.redirects_to = ""
        self.messages: list[Message] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def taken(self, path: str) -> list[Message]:
        """What was answered with 204, in the order in which it first came: it may come twice."""
        first: dict[str, Message] = {}
        for one in self.came(path):
            if one.status == 204:
                first.setdefault(one.headers["webhook-id"], one)
        return list(first.values())

    def came(self, path: str) -> list[Message]:
        """All that came."""
        with self._lock:
            return [one for one in self.messages if one.path == path]

    def start(self) -> None:
        """Listen."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Let every connection be refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _keep(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        with self._lock:
            planned = self.answers.get(path, [204])
            status = planned.pop(0) if len(planned) > 1 else planned[0]
            self.messages.append(Message(path, headers, body, status, time.time()))
            return status

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = outer._keep(self.path, headers, body)
                deadline = time.monotonic() + HANGS_MAX_S
                while self.path in outer.hanging and time.monotonic() < deadline:
                    time.sleep(0.02)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", outer.redirects_to)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hanging.clear()
        self.stop()
