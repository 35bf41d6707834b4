"""uvicorn's HTTP protocol with what it lacks: limits for a request's head and for the time that clients take,
refusals in our one shape, and bodies of clients that offer another protocol.

Clients that prefer HTTP/2, such as Java's, offer it (`Upgrade: h2c`) with their first request, whatever that
is. A server may ignore the offer (Source: RFC 9110, section 7.8), but the parser below uvicorn then takes the
head for the end of HTTP, and the body would be lost.
"""

import asyncio
import contextlib
import fcntl
import json
import termios
from array import array
from http import HTTPStatus
from typing import NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX_BYTES = 512 * 1024
"""Beyond it nothing is read: a longer head would fill the memory, and keep all others waiting while it does.

The API itself refuses heads that are far smaller, but sees them only when they are complete.
"""

HEAD_S = 30.0
"""A connection brings the head of a request within this time, from its first byte on."""

REQUEST_S = 300.0
"""... and its body within this. Else who sends drop by drop could use up all of the process's open files."""

KEEP_ALIVE_S = 75
"""A connection between two requests. Many clients ask every few seconds, and one whose connection closes just
when it asks sees a fault."""

UNREAD_S = 60.0
"""A client that takes nothing of its answer for so long is taken for gone. How long the whole takes is its
own matter: lines are slow, and files large."""


class _Awaited(NamedTuple):
    """What the client is to send: which request of the connection, and which part of it."""

    number: int
    part: str
    within_s: float


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    _number = 0
    _in_body = False
    _awaited: _Awaited | None = None
    _due: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = False
    _is_resuming = False
    """What the parser reads is not the client's, but leads it to the body of a request that was begun."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come, and owes a request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        super().connection_lost(exc)
        self._wait_for(None)
        self._unwatch_reader()

    def on_response_complete(self) -> None:
        """It is answered."""
        super().on_response_complete()
        self._watch()

    def timeout_keep_alive_handler(self) -> None:
        """It has nothing more to ask."""
        self._leave()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        if not self.transport.is_closing():  # else the rest is watched to its end
            self._unwatch_reader()

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._is_resuming:
            super().on_message_begin()
            self._head_bytes = 0
            self._number += 1
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
        self._in_body = True
        if not self._is_resuming:
            super().on_headers_complete()
        self._is_resuming = False

    def on_message_complete(self) -> None:
        """It is complete, unless it made an offer and its body is still to be read."""
        if not (self.parser.should_upgrade() and self._framing()):
            self._in_body = False
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
        self._watch()

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

    def _watch(self) -> None:
        """See that what the client still owes comes in time; what has come whole costs no timer."""
        if self.transport.is_closing():
            self._wait_for(None)
        elif self._in_head:
            self._wait_for(_Awaited(self._number, "head", HEAD_S))
        elif self._in_body and not self.pipeline:
            self._wait_for(_Awaited(self._number, "body", REQUEST_S))
        elif self.cycle is None or self.cycle.response_complete:
            self._wait_for(_Awaited(self._number + 1, "beginning", HEAD_S))
        else:
            self._wait_for(None)

    def _wait_for(self, awaited: _Awaited | None) -> None:
        if awaited == self._awaited:
            return
        if self._due is not None:
            self._due.cancel()
        self._awaited = awaited
        self._due = self.loop.call_later(awaited.within_s, self._give_up) if awaited else None

    def _give_up(self) -> None:
        """What was owed has not come: tell so, unless that would stand in the middle of an answer."""
        awaited, cycle = self._awaited, self.cycle
        if awaited is not None and awaited.part != "beginning" and not self.transport.is_closing():
            is_quiet = cycle is None or cycle.response_complete
            if is_quiet or (awaited.part == "body" and not cycle.response_started):
                said = f"the {awaited.part} of the request has not come within {awaited.within_s:g} seconds"
                self._refuse(408, said)
        self._leave()

    def _leave(self) -> None:
        """End the connection, also if the client does not take what is still on its way."""
        if not self.transport.is_closing():
            self.transport.close()
        self._watch_reader()

    def _watch_reader(self) -> None:
        self._unwatch_reader()
        self._unread = self.loop.call_later(UNREAD_S, self._look_at_reader, self._on_its_way_bytes())

    def _look_at_reader(self, before_bytes: int) -> None:
        """Wait on if the client has taken anything meanwhile."""
        if self._on_its_way_bytes() < before_bytes:
            self._watch_reader()
        else:
            self.transport.abort()

    def _on_its_way_bytes(self) -> int:
        """What was sent but has not arrived: here, and in the kernel, which takes more in large pieces."""
        in_kernel = array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_kernel)
        return self.transport.get_write_buffer_size() + in_kernel[0]

    def _unwatch_reader(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"status_code": status, "msg": message}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
