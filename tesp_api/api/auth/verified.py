"""Remembers for a short time who was verified by which credentials, so that a request costs one digest."""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from tesp_api.api.auth.authenticator import Proof
from tesp_api.api.auth.identity import Identity
from tesp_api.tes.times import now

_REMEMBERED = 10_000


class Verified:
    """Who was verified, for `keep_s`, and not beyond the end that the credentials themselves name.

    Only what was right is kept, under a digest with a key that dies with the process: neither the credentials
    nor anything by which others could try them out. Those who come with the same credentials at the same time
    share one verification.

    `whose` says of credentials that can be guessed where they come from and whom they name. As soon as others
    are verified for the same, those that were are forgotten: who tries out many does not find the right ones
    here, past all that limits guesses.
    """

    def __init__(self, keep_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[Identity, float, str]] = OrderedDict()
        self._guessable: dict[str, bytes] = {}
        self._asked: dict[bytes, asyncio.Task[Proof]] = {}

    def known(self, credentials: bytes) -> Identity | None:
        """Who has these credentials, if that was verified a short time ago."""
        return self._look_up(self._digest(credentials))

    async def identity(
        self, credentials: bytes, verify: Callable[[], Awaitable[Proof]], *, whose: str = ""
    ) -> Identity:
        """Who has these credentials; `verify` is asked, and raises, if that is not known."""
        digest = self._digest(credentials)
        return self._look_up(digest) or (await self._verify(digest, verify, whose)).identity

    def _digest(self, credentials: bytes) -> bytes:
        return hashlib.blake2b(credentials, digest_size=32, key=self._key).digest()

    def _look_up(self, digest: bytes) -> Identity | None:
        known = self._known.get(digest)
        if known is None or self._clock() < known[1]:
            return known and known[0]
        self._drop(digest)
        return None

    async def _verify(self, digest: bytes, verify: Callable[[], Awaitable[Proof]], whose: str) -> Proof:
        asked = self._asked.get(digest)
        if asked is None:
            if whose in self._guessable:
                self._drop(self._guessable[whose])
            asked = asyncio.ensure_future(self._ask(digest, verify, self._clock(), whose))
            self._asked[digest] = asked
            asked.add_done_callback(lambda done: self._forget(digest, done))
        return await asyncio.shield(asked)  # one client that goes away must not take it from the others

    async def _ask(
        self, digest: bytes, verify: Callable[[], Awaitable[Proof]], began: float, whose: str
    ) -> Proof:
        proof = await verify()  # what it finds was so when it began, or later
        keep_s = self._keep_s
        if proof.ends_at is not None:
            keep_s = min(keep_s, (proof.ends_at - now()).total_seconds())
        self._known[digest] = (proof.identity, began + keep_s, whose)
        if whose:
            self._guessable[whose] = digest
        while len(self._known) > _REMEMBERED:
            self._drop(next(iter(self._known)))
        return proof

    def _drop(self, digest: bytes) -> None:
        whose = self._known.pop(digest)[2]
        if self._guessable.get(whose) == digest:
            del self._guessable[whose]

    def _forget(self, digest: bytes, done: asyncio.Task[Proof]) -> None:
        self._asked.pop(digest, None)
        if not done.cancelled():
            done.exception()  # looked at, so that nobody complains if all who asked have gone
