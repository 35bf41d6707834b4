"""Who tries out many wrong logins must wait; who has logged in from the same place before need not.

Counted are wrong logins, each once from an address, so that a program that goes on with an old password
counts as one. Genuine tokens that have ended do not count.

- Those of one *address* (`per_address`; of IPv6 a /64, which one machine may have whole) count together.
- Those that name one *user*, or one token, count together, too (`per_user`). Beyond that, addresses must wait
  that have failed for this name before. Any other one has its first try, so that nobody can lock a user out
  from elsewhere, and a guess costs an address.
- A name that has logged in from an address before is counted there by itself: failures for other names, or
  from elsewhere, do not concern it.
- Tokens are looked at in any case: they cannot be guessed, and so who has a right one does not wait for
  others at its address. Only wrong ones count, and are refused once there were too many.

All this is the process's own memory, of limited size, and forgotten with it.
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Generic, TypeVar

from tesp_api.api.limits.bucket import Bucket
from tesp_api.errors import LimitReached
from tesp_api.settings_limits import LoginLimits

_KNOWN = 10_000
_ADVICE = "look at the user name and the password, or the token, before you go on"
_IPV6_BITS = 64

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """The last ones used of a mapping."""

    def __init__(self) -> None:
        self._items: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def get(self, key: K, make: Callable[[], V]) -> V:
        value = self._items.get(key)
        if value is None:
            value = self._items[key] = make()
            if len(self._items) > _KNOWN:
                self._items.popitem(last=False)
        else:
            self._items.move_to_end(key)
        return value


class LoginGuard:
    """One for each process. `clock` counts seconds."""

    def __init__(self, limits: LoginLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._addresses: _Recent[str, Bucket] = _Recent()
        self._names: _Recent[str, Bucket] = _Recent()
        self._known: _Recent[tuple[str, str], Bucket] = _Recent()
        self._failed: _Recent[tuple[str, str], bool] = _Recent()
        self._wrong: _Recent[bytes, bool] = _Recent()

    def attempt(self, address: str, name: str, credentials: bytes, *, is_guessable: bool) -> "Attempt":
        """Begin to look at credentials that came from an address; `name` is who they say it is, or "".

        Raises:
            LimitReached: too many that came before were wrong, and these might be right by chance.
        """
        place = _place(address)
        digest = hmac.digest(self._key, place.encode() + b" " + credentials, hashlib.sha256)
        is_new = digest not in self._wrong
        taken = self._take(place, name) if is_new and is_guessable else []
        return Attempt(self, (place, name), digest, taken, counts_later=is_new and not is_guessable)

    def _take(self, place: str, name: str) -> list[Bucket]:
        """Count a wrong login; the buckets that it was taken out of."""
        if name and (place, name) in self._known:
            taken = [self._known.get((place, name), self._of_user)]
            self._require(taken[0], "per_user")
        else:
            taken = [self._addresses.get(place, self._of_address)]
            self._require(taken[0], "per_address")
            if name:
                taken.append(self._names.get(name, self._of_user))
                if (place, name) in self._failed:
                    self._require(taken[1], "per_user")
        for bucket in taken:
            bucket.take()
        return taken

    def _require(self, bucket: Bucket, setting: str) -> None:
        missing_s = bucket.missing_s()
        if missing_s:
            raise LimitReached(
                f"limits.logins.{setting}",
                bucket.size,
                bucket.taken,
                taken=f"logins were wrong in the last {self._limits.within_s:g} s",
                retry_after_s=missing_s,
                advice=_ADVICE,
            )

    def _of_address(self) -> Bucket:
        return self._bucket(self._limits.per_address)

    def _of_user(self) -> Bucket:
        return self._bucket(self._limits.per_user)

    def _bucket(self, most: int) -> Bucket:
        return Bucket(most / self._limits.within_s, most, self._clock)


class Attempt:
    """A login that is being looked at. A password counts as a wrong one until `end` says what it was."""

    def __init__(
        self,
        guard: LoginGuard,
        pair: tuple[str, str],
        digest: bytes,
        taken: list[Bucket],
        *,
        counts_later: bool,
    ) -> None:
        self._guard = guard
        self._pair = pair
        self._digest = digest
        self._taken = taken
        self._counts_later = counts_later

    @property
    def is_known(self) -> bool:
        """Whether this name has logged in from there before."""
        return self._pair in self._guard._known

    def end(self, outcome: bool | None) -> None:
        """Right, wrong, or (None) nothing that would count.

        Raises:
            LimitReached: a token was wrong, as were too many before.
        """
        if outcome is not False:
            for bucket in self._taken:
                bucket.take(-1)
        if outcome:
            if self._pair[1]:
                self._guard._known.get(self._pair, self._guard._of_user)
        elif outcome is False:
            if self._counts_later:
                self._guard._take(*self._pair)
            self._guard._failed.get(self._pair, lambda: True)
            self._guard._wrong.get(self._digest, lambda: True)


@lru_cache(maxsize=1024)
def _place(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is None and found.version == 6:
        return str(ipaddress.ip_network((found, _IPV6_BITS), strict=False))
    return str(mapped or found)
