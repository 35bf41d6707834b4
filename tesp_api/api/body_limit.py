"""Refuses bodies that are too large before they fill the memory."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tesp_api.api.errors import error_answer
from tesp_api.errors import BodyTooLarge


class BodyLimit:
    """ASGI middleware: 413 by the announced length at once, else as soon as too much has come."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced[:19]) > self._max_body_bytes:
            await error_answer(BodyTooLarge(self._max_body_bytes))(scope, receive, send)
            return
        await self._app(scope, _Counting(receive, self._max_body_bytes), send)


class _Counting:
    """A `receive` that counts the body's bytes; bodies in chunks announce no length.

    It raises inside of the route that reads the body, so the error handlers answer it.
    """

    def __init__(self, receive: Receive, max_body_bytes: int) -> None:
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        self._received_bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self._max_body_bytes:
            raise BodyTooLarge(self._max_body_bytes)
        return message
