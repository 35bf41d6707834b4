"""How often users may ask: a bucket of requests for each of them and one for all, which fill steadily.

A bucket holds `requests_burst` and fills by `requests_per_s`; a request takes one, and what it costs beyond
an ordinary one is taken when that is known, if need be on credit. Each process has its own buckets.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tesp_api.api.auth.identity import OPEN, Identity, identity_in
from tesp_api.api.errors import error_answer
from tesp_api.api.limits.allowances import Allowances, Named
from tesp_api.api.limits.bucket import Bucket
from tesp_api.errors import LimitReached
from tesp_api.settings import Settings

_KEY = "tesp.rate"
_USERS_KNOWN = 10_000
_BODY_BYTES = 256 * 1024
"""So many bytes of a body count as one request more, once they have come."""


class RequestRate:
    """ASGI middleware, behind the authentication: 429 for who asks too often.

    Admins who have logged in are never refused, so that they can always look and cancel; what they ask
    counts.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._allowances = Allowances(settings.limits)
        self._clock = clock
        self._users: OrderedDict[str, Bucket] = OrderedDict()
        self._all = self._bucket(self._allowances.all)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (who := identity_in(scope)) is not None:
            buckets = list(self._buckets(who))
            if (full := _refusal(buckets)) and (not who.is_admin or who == OPEN):
                await error_answer(full)(scope, receive, send)
                return
            scope[_KEY] = [bucket for _, bucket in buckets]
            _take(scope, 1)
            receive = _charging(scope, receive)
        await self._app(scope, receive, send)

    def _buckets(self, who: Identity) -> Iterator[tuple[Named, Bucket]]:
        own = self._allowances.of_user(who)
        if own is not None and own.table.requests_per_s is not None:
            yield own, self._bucket_of(who.owner, own)
        if self._all is not None:
            yield self._allowances.all, self._all

    def _bucket_of(self, owner: str, own: Named) -> Bucket:
        found = self._users.get(owner) or self._bucket(own)
        assert found is not None  # noqa: S101 - only called where there is a rate
        self._users[owner] = found
        self._users.move_to_end(owner)
        if len(self._users) > _USERS_KNOWN:  # who has not asked for long has a full bucket again
            self._users.popitem(last=False)
        return found

    def _bucket(self, named: Named) -> Bucket | None:
        rate = named.table.requests_per_s
        return None if rate is None else Bucket(rate, named.table.requests_burst, self._clock)


def charge(request: Request, count: float) -> None:
    """Count the request as so many more."""
    _take(request.scope, count)


def _take(scope: MutableMapping[str, Any], count: float) -> None:
    for bucket in scope.get(_KEY, ()):
        bucket.take(count)


def _charging(scope: Scope, receive: Receive) -> Receive:
    """A `receive` that counts a body as it comes: what is announced may never come, or not be announced."""
    received_bytes = 0

    async def receive_next() -> Message:
        nonlocal received_bytes
        message = await receive()
        before = received_bytes // _BODY_BYTES
        received_bytes += len(message.get("body", b""))
        _take(scope, received_bytes // _BODY_BYTES - before)
        return message

    return receive_next


def limits_requests(settings: Settings) -> bool:
    """Whether anybody's requests are limited."""
    limits = settings.limits
    tables = (limits.user, limits.all, *limits.special.values())
    return any(one.requests_per_s is not None for one in tables)


def _refusal(buckets: list[tuple[Named, Bucket]]) -> LimitReached | None:
    missing = [(bucket.missing_s(), named, bucket) for named, bucket in buckets]
    longest = max(missing, key=lambda one: one[0], default=None)
    if longest is None or not longest[0]:
        return None
    missing_s, (name, table), bucket = longest
    return LimitReached(
        f"{name}.requests_per_s",
        table.requests_per_s or 0,
        bucket.taken,
        taken=f"of the requests_burst of {table.requests_burst} are used up",
        retry_after_s=missing_s,
        advice="ask less often, or for more at once: lists with tags, tasks:bulk",
    )
