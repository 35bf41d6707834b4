"""uvicorn's HTTP protocol with what it lacks: a limit for a request's head, refusals in our one shape, and
bodies of clients that offer another protocol.

Clients that prefer HTTP/2, such as Java's, offer it (`Upgrade: h2c`) with their first request, whatever that
is. A server may ignore the offer (Source: RFC 9110, section 7.8), but the parser below uvicorn then takes the
head for the end of HTTP, and the body would be lost.
"""

import json
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX_BYTES = 512 * 1024
"""Beyond it nothing is read: a longer head would fill the memory, and keep all others waiting while it does.

The API itself refuses heads that are far smaller, but sees them only when they are complete.
"""


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    _in_head = False
    _is_resuming = False
    """What the parser reads is not the client's, but leads it to the body of a request that was begun."""

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._is_resuming:
            super().on_message_begin()
            self._head_bytes = 0
            self._in_head = True

    def on_url(self, url: bytes) -> None:
        """A part of its address."""
        if not self._is_resuming:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        if not self._is_resuming:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is complete; what follows is its body, which has a limit of its own."""
        self._in_head = False
        if not self._is_resuming:
            super().on_headers_complete()
        self._is_resuming = False

    def on_message_complete(self) -> None:
        """It is complete, unless it made an offer and its body is still to be read."""
        if not (self.parser.should_upgrade() and self._framing()):
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and end the connection once a head is too long."""
        self._unset_keepalive_if_required()
        rest = data
        while rest:
            rest = self._parse(rest)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(431, f"the request's head is longer than {HEAD_MAX_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(400, msg)

    def _should_upgrade(self) -> bool:
        return False

    def _parse(self, data: bytes) -> bytes:
        """Read until the end of `data`, or of a head with an offer; returns what comes after that."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_offer()
            return data[offer.args[0] :]
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        return b""

    def _ignore_offer(self) -> None:
        """Go on with a parser that stands where the other would without the offer."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        if framing := self._framing():
            self._is_resuming = True
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")

    def _framing(self) -> bytes:
        """The header that says how long the request's body is; empty if it has none."""
        for name, value in self.headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ")):
                return name + b": " + value + b"\r\n"
        return b""

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"status_code": status, "msg": message}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
