"""Passwords: how they are hashed and checked. Slow on purpose (argon2id), so each is checked once.

Source: RFC 9106; its second recommended set of parameters (64 MiB) is argon2-cffi's default.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError

from tesp_api.api.auth.guesses import GuessLimit
from tesp_api.api.auth.password_line import PasswordLine
from tesp_api.api.auth.password_turns import PasswordTurns
from tesp_api.api.auth.recent import Recent
from tesp_api.errors import AuthenticationBusy
from tesp_api.settings_limits import LoginLimits

LEAST_LENGTH = 8
MOST_BYTES = 1024
_TOLD_EVERY_S = 2.0
"""So long after it came, or a multiple, is told what is wrong: longer than one place keeps the line busy."""

_log = logging.getLogger(__name__)
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
    once. Only names that there are have verdicts, so that nobody else's can push them out.
    """

    def __init__(self, limits: LoginLimits) -> None:
        self._key = secrets.token_bytes(32)
        self._right: Recent[str, tuple[str, bytes]] = Recent()
        self._wrong: Recent[bytes, str] = Recent()
        self._guesses = GuessLimit(limits)
        self._line = PasswordLine(_is_made_of)
        self._turns = PasswordTurns()

    async def is_right(self, name: str, password: str, stored: str, *, place: str = "") -> bool:
        """Whether `stored` was made of the password; "" is no hash at all.

        What is right is told at once. What is wrong is told late and at set times, that there is no such name
        no sooner than that the password is another one.

        Raises:
            AuthenticationBusy: too many wait for it, or argon2 cannot work now.
        """
        came_at = time.monotonic()
        async with self._turns.under_way(place, name) as turn:
            digest = self._digest(name, password)
            if stored and self._right.find(name) == (stored, digest):
                guess = self._guesses.begin(place, name)
                if guess:
                    guess.end(True)
                    return True
            async with turn:
                if await self._find_out(name, password, digest, stored, place):
                    return True
            passed_s = time.monotonic() - came_at
            await asyncio.sleep(_TOLD_EVERY_S - passed_s % _TOLD_EVERY_S)
        return False

    async def _find_out(self, name: str, password: str, digest: bytes, stored: str, place: str) -> bool:
        is_known_wrong = self._wrong.find(digest) == stored
        guess = self._guesses.begin(place, name) if stored and not is_known_wrong else None
        if guess is None:
            await self._line.pretend(password)
            return False
        right = None
        try:
            right = self._right.find(name) == (stored, digest) or await self._line.check(stored, password)
        finally:
            guess.end(right)
        if right:
            self._right.put(name, (stored, digest))
        else:
            self._wrong.put(digest, stored)
        return right

    def _digest(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{len(name)} {name} {password}".encode(), hashlib.sha256)


def _is_made_of(stored: str, password: str) -> bool:
    """Raises: AuthenticationBusy if argon2 finds neither: it has no memory, or no thread can be started."""
    try:
        return _hasher.verify(stored or _nobodys_hash(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    except (Argon2Error, MemoryError) as error:
        _log.error("argon2 could not look at a password: %s", error or type(error).__name__)
        raise AuthenticationBusy("passwords cannot be checked now: the server is short of memory") from error
