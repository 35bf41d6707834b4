"""Readers who have been told all that there is, and wait for more: they are told of it together.

What comes is read once for all who stand at one place of a stream, and written to each connection at once:
that takes a tenth of what it takes to wake each reader, who would then send it through all layers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope, Send

from tesp_api.api.live.frames import Step

Write = Callable[[bytes], bool]
"""Writes at once, or not at all, and says which."""

Source = tuple[Hashable, Callable[[Any], Awaitable[Step[Any]]]]
"""What is read behind a place; readers with the same name for it read the same."""

_SEND = "tesp.send"
_BETWEEN_PAUSES = 100


def put_send(scope: Scope, send: Send) -> None:
    """Note on the request how the server itself sends."""
    scope[_SEND] = send


def direct_write(scope: Scope) -> Write | None:
    """A way to write a piece of an answer that has begun, around all layers; None where there is none.

    Only for uvicorn, of which it is known that sending waits before it has taken anything, not after.
    Source: uvicorn 0.35, protocols/http/httptools_impl.py and h11_impl.py, RequestResponseCycle.send.
    """
    send = scope.get(_SEND)
    sends_by = type(getattr(send, "__self__", None)).__module__
    if send is None or not sends_by.startswith("uvicorn.") or scope["method"] == "HEAD":
        return None

    def write(data: bytes) -> bool:
        sending = send({"type": "http.response.body", "body": data, "more_body": True})
        try:
            sending.send(None)
        except StopIteration:
            return True
        except Exception:  # who sends the next piece in the ordinary way is told
            return False
        sending.close()  # the client does not keep up
        return False

    return write


@dataclass(slots=True, eq=False)
class Bystander:
    """A reader who waits, at a place that moves on as they are told; `released` once they go on alone."""

    place: Any
    write: Write
    was_told: Callable[[], None]
    released: "asyncio.Future[None]"

    def release(self) -> None:
        """Let them go on, from where they stand."""
        if not self.released.done():
            self.released.set_result(None)


class Crowd:
    """All who wait for news of one thing, by where they stand."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Hashable, Hashable], tuple[Source, list[Bystander]]] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, source: Source, one: Bystander) -> None:
        """One more."""
        self._rows.setdefault((source[0], one.place), (source, []))[1].append(one)

    async def tell(self, read: Callable[[Source, Any], Awaitable[Step[Any] | None]]) -> None:
        """Tell all what has come behind their places. Where `read` gives None, they go on alone."""
        rows, self._rows = self._rows, {}
        for (_, place), (source, waiting) in rows.items():
            step = await read(source, place)
            if step is None or step.is_over or step.has_more:
                for one in waiting:
                    one.release()
            else:
                await self._tell_row(source, step, waiting)

    async def _tell_row(self, source: Source, step: Step[Any], waiting: Sequence[Bystander]) -> None:
        for number, one in enumerate(waiting, start=1):
            if one.released.done():  # gone
                continue
            if step.data:
                if not one.write(step.data):
                    one.release()
                    continue
                one.was_told()
            one.place = step.place
            self.add(source, one)
            if step.data and number % _BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
