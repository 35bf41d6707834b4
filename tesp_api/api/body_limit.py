"""Refuses bodies that are too large before they fill the memory."""

import asyncio
import contextlib
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tesp_api.api.errors import error_answer
from tesp_api.errors import BodyTooLarge

_DROPPED_BODIES = 4
"""So many times the limit is read and dropped before the answer: many clients look for one only after
they have sent their body, and would see a reset connection instead of 413."""

_DROP_S = 10.0


class BodyLimit:
    """ASGI middleware: 413 by the announced length, else as soon as too much has come."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, larger: Mapping[str, int]) -> None:
        """`larger` are the limits of forms with files, which do not fill the memory, by ends of paths."""
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_body_bytes = self._limit_of(scope)
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced[:19]) > max_body_bytes:
            if "expect" not in Headers(scope=scope):  # who asks first gets the answer at once
                await self._drop(receive)
            await error_answer(BodyTooLarge(max_body_bytes))(scope, receive, send)
            return
        await self._app(scope, _Counting(receive, max_body_bytes), send)

    def _limit_of(self, scope: Scope) -> int:
        content_type = Headers(scope=scope).get("content-type", "").partition(";")[0]
        if content_type.strip().lower() == "multipart/form-data":
            fitting = (most for end, most in self._larger.items() if scope["path"].endswith(end))
            return next(fitting, self._max_body_bytes)
        return self._max_body_bytes

    async def _drop(self, receive: Receive) -> None:
        dropped_bytes = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DROP_S):
                while dropped_bytes < _DROPPED_BODIES * self._max_body_bytes:
                    message = await receive()
                    dropped_bytes += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return


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
