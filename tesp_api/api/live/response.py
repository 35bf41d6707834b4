"""An answer that goes on as long as there is something to tell, and somebody who listens."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tesp_api.api.auth.identity import Identity
from tesp_api.api.limits.allowances import Allowances
from tesp_api.errors import LimitReached
from tesp_api.settings_limits import LimitSettings

_RETRY_S = 5.0
_ADVICE = "end some of the others: tesp task logs --follow, tesp top, pages of the dashboard"


class StreamPlaces:
    """Counts the streams that each user has open in this process."""

    def __init__(self, limits: LimitSettings) -> None:
        self._allowances = Allowances(limits)
        self._open: Counter[str] = Counter()

    @property
    def open_count(self) -> int:
        """How many streams are open, of all users."""
        return self._open.total()

    @contextlib.contextmanager
    def place(self, who: Identity) -> Iterator[None]:
        """A place for one stream of theirs, for the block.

        Raises:
            LimitReached: they have as many as they may have, or all together have.
        """
        own, every = self._allowances.of_user(who), self._allowances.all
        tables = [(own, self._open[who.owner])] if own else []
        for named, used in (*tables, (every, self._open.total())):
            if used >= named.table.streams_at_once:
                most, name = named.table.streams_at_once, f"{named.name}.streams_at_once"
                raise LimitReached(name, most, used, retry_after_s=_RETRY_S, advice=_ADVICE)
        self._open[who.owner] += 1
        try:
            yield
        finally:
            self._open[who.owner] -= 1
            if not self._open[who.owner]:
                del self._open[who.owner]


class LiveResponse(Response):
    """Sends what `source` gives, piece by piece, until that ends or the client goes.

    A client that reads slowly keeps the source waiting: nothing is gathered for it. `source` is called once
    there is a place for the stream.
    """

    def __init__(
        self,
        source: Callable[[], AsyncIterator[bytes]],
        places: StreamPlaces,
        who: Identity,
        *,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(None, 200, headers, media_type)
        del self.headers["content-length"]
        self._source = source
        self._places = places
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._places.place(self._who):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await self._stream(receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            both = (sending, leaving)
            for one in both:
                one.cancel()
            results = await asyncio.gather(*both, return_exceptions=True)
        failure = results[0]
        if isinstance(failure, Exception) and not isinstance(failure, OSError):
            raise failure

    async def _send_all(self, send: Send) -> None:
        async with contextlib.aclosing(self._source()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
