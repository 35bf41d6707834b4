"""An HTTP server of files with ranges and PUT, whose statements about them can be chosen."""

import base64
import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class FileServer(ThreadingHTTPServer):
    """`with FileServer() as server:`; `files` are by path, as requests name them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        """Given to the next requests in place of the file."""
        self.moves: dict[str, str] = {}
        """Where requests for a path are redirected to."""
        self.etag: str | None = "sha"
        """ "sha": of the content; None: not told; anything else: as it is."""
        self.more_headers: dict[str, str] = {}
        self.states_digest = False
        self.has_ranges = True
        self.ignores_if_range = False
        self.has_length = True
        self.is_chunked = False
        self.after_get: list[tuple[str, bytes]] = []
        """Files that appear once the first GET was begun."""
        self.stores: Callable[[bytes], bytes] = lambda body: body
        self.port = self.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def etag_of(self, body: bytes) -> str | None:
        return f'"{hashlib.sha256(body).hexdigest()}"' if self.etag == "sha" else self.etag

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _begin(self) -> bool:
        """Note the request; False if it was answered out of turn."""
        self.server.requests.append((self.command, self.path, dict(self.headers.items())))
        if not self.server.answers:
            return True
        status, headers = self.server.answers.popleft()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))  # else a reset may outrun the answer
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        return False

    def do_GET(self) -> None:
        if not self._begin():
            return
        server = self.server
        if self.path in server.moves:
            self.send_response(302)
            self.send_header("Location", server.moves[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        etag = server.etag_of(body)
        start = self._start(etag)
        if start is not None and start >= len(body):
            self.send_error(416)
            return
        self.send_response(200 if start is None else 206)
        headers = {"ETag": etag} if etag else {}
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if server.states_digest:
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
        if server.is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif server.has_length:
            headers["Content-Length"] = str(len(body) - (start or 0))
        else:
            headers["Connection"] = "close"
        for name, value in {**headers, **server.more_headers}.items():
            self.send_header(name, value)
        self.end_headers()
        server.files |= dict(server.after_get)
        self._give(body[start or 0 :])

    def _give(self, body: bytes) -> None:
        if self.command == "HEAD":
            return
        try:
            if self.server.is_chunked:
                for at in range(0, len(body), 50_000):
                    piece = body[at : at + 50_000]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def _start(self, etag: str | None) -> int | None:
        """Where the asked range begins; None for the whole."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        known = (etag, self.server.more_headers.get("Last-Modified"))
        is_same = self.server.ignores_if_range or self.headers.get("If-Range") in known
        return int(found[1]) if found and is_same and self.server.has_ranges else None

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        if not self._begin():
            return
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self.server.files[self.path] = self.server.stores(body)
        self.send_response(201)
        for name, value in {"Content-Length": "0", **self.server.more_headers}.items():
            self.send_header(name, value)
        self.end_headers()
