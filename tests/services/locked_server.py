"""An HTTP server of files that wants to know who asks, and says too much to whom it refuses."""

import base64
from http import HTTPStatus

from tests.services.file_server import FileServer, _Handler


def basic(username: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class LockedServer(FileServer):
    """`locks` are the headers, by name, that each path below a prefix needs; the longest prefix decides.

    The answer 401 repeats the headers that came, as careless servers do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = _LockedHandler
        self.locks: dict[str, dict[str, str]] = {}

    def lock_of(self, path: str) -> dict[str, str]:
        fitting = [prefix for prefix in self.locks if path.startswith(prefix)]
        return self.locks[max(fitting, key=len)] if fitting else {}


class _LockedHandler(_Handler):
    server: LockedServer

    def _begin(self) -> bool:
        wanted = self.server.lock_of(self.path)
        got = {name: self.headers.get(name, "") for name in wanted}
        if got == wanted:
            return super()._begin()
        self.server.requests.append((self.command, self.path, dict(self.headers.items())))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(HTTPStatus.UNAUTHORIZED, f"Not with {', '.join(got.values())}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_POST(self) -> None:  # noqa: N802 - the name by which it is called
        self.do_PUT()
