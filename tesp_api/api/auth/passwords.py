"""Passwords: how they are hashed and checked. Slow on purpose (argon2id), so only a few at one time.

Source: RFC 9106; its second recommended set of parameters (64 MiB) is argon2-cffi's default.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tesp_api.errors import AuthenticationBusy

LEAST_LENGTH = 8
MOST_BYTES = 1024
_AT_ONCE = 2
_REST = 2
"""After a stranger's password comes a rest of so many times what it took: wrong ones can have a third of the
processor, wherever they come from."""
_WAITING = 64
_REMEMBERED = 10_000

_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    """What is kept of a password: argon2's own text, with its salt and parameters."""
    return _hasher.hash(password)


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_hex(16))


class PasswordChecker:
    """Checks passwords against stored hashes, and remembers what it found, by a digest with a key of its own.

    A verdict is about one stored hash: where that has changed, or there is none any more, it is not looked
    at. So the same password costs argon2's time once, and a removed user or a new password is noticed at
    once.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._verdicts: OrderedDict[bytes, tuple[str, bool]] = OrderedDict()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")
        self._waiting = {True: 0, False: 0}
        self._strangers_turn = asyncio.Lock()

    async def is_right(self, name: str, password: str, stored: str, *, is_known: bool = False) -> bool:
        """Whether `stored` was made of the password; for no hash at all it takes the same time to say no.

        Those who are not known take turns, one at a time.

        Raises:
            AuthenticationBusy: too many wait for it.
        """
        digest = self._digest(name, password)
        known = self._verdicts.get(digest)
        if known is not None and known[0] == stored:
            self._verdicts.move_to_end(digest)
            return known[1] and bool(stored)
        right = await self._check(stored, password, is_known)
        self._verdicts[digest] = (stored, right)
        while len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)
        return right and bool(stored)

    async def _check(self, stored: str, password: str, is_known: bool) -> bool:
        if self._waiting[is_known] >= _WAITING:
            raise AuthenticationBusy("too many passwords are being checked")
        self._waiting[is_known] += 1
        try:
            return await (self._run if is_known else self._run_in_turn)(stored, password)
        finally:
            self._waiting[is_known] -= 1

    async def _run_in_turn(self, stored: str, password: str) -> bool:
        await self._strangers_turn.acquire()
        began_at = time.monotonic()
        try:
            return await self._run(stored, password)
        finally:
            rest_s = _REST * (time.monotonic() - began_at)
            asyncio.get_running_loop().call_later(rest_s, self._strangers_turn.release)

    async def _run(self, stored: str, password: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _is_made_of, stored, password)

    def _digest(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{len(name)} {name} {password}".encode(), hashlib.sha256)


def _is_made_of(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
