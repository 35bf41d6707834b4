"""Turns of logins: of one name from one place, one password after the other is looked at.

So how many tries of a name are under way at once tells nobody whether there is such a user: each of them
takes its time after the one before, whether argon2 runs for it or not, and in argon2's own line there is one
at most. How many may be under way is bounded, whatever names they bear: each is kept in memory until it is
answered.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from tesp_api.errors import AuthenticationBusy

K = TypeVar("K")

_TOGETHER_MAX = 10_000
_OF_PLACE_MAX = 2_000
_OF_NAME_MAX = 100
"""From one place; so long a user waits at most whose place others guess from in the same name."""


class PasswordTurns:
    """Counts and orders them. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._together = 0
        self._of_place: Counter[str] = Counter()
        self._of_name: Counter[tuple[str, str]] = Counter()
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    @asynccontextmanager
    async def under_way(self, place: str, name: str) -> AsyncIterator[asyncio.Lock]:
        """Until it is answered; holding the lock, it has its turn.

        Raises:
            AuthenticationBusy: too many are under way.
        """
        pair = (place, name)
        self._require_room(pair)
        self._together += 1
        self._of_place[place] += 1
        self._of_name[pair] += 1
        try:
            yield self._locks.setdefault(pair, asyncio.Lock())
        finally:
            self._together -= 1
            _take_one(self._of_place, place)
            if not _take_one(self._of_name, pair):
                del self._locks[pair]

    def _require_room(self, pair: tuple[str, str]) -> None:
        if (
            self._together >= _TOGETHER_MAX
            or self._of_place[pair[0]] >= _OF_PLACE_MAX
            or self._of_name[pair] >= _OF_NAME_MAX
        ):
            raise AuthenticationBusy("too many logins wait for an answer")


def _take_one(counter: Counter[K], key: K) -> int:
    """One less of these; returns how many are left, and keeps none that is 0."""
    counter[key] -= 1
    return counter[key] or counter.pop(key)
