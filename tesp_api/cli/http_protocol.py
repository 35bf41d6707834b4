"""uvicorn's HTTP protocol with what it lacks: a limit for a request's head, and refusals in our one shape."""

import json
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX_BYTES = 512 * 1024
"""Beyond it nothing is read: a longer head would fill the memory, and keep all others waiting while it does.

The API itself refuses heads that are far smaller, but sees them only when they are complete.
"""


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    _in_head = False

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Its head is complete; what follows is its body, which has a limit of its own."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and end the connection once a head is too long."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(431, f"the request's head is longer than {HEAD_MAX_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(400, msg)

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"status_code": status, "msg": message}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
