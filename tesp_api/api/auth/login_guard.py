"""Counts wrong logins, and says who has sent too many: their next wrong one is answered 429 instead of 401.

Each counts once from a place (`prefix_of` its address), so that a program that goes on with an old password
counts as one. Genuine tokens that have ended do not count.

- Those of one *place* (`per_address`) count together.
- Those that name one *user*, or one token, count together, too (`per_user`). Beyond that, places must wait
  that have failed for this name before; any other one has its first try.

Whether there is such a user makes no difference here. What is right is never refused: tokens cannot be
guessed, and which passwords are looked at is for `guesses.py` to say.

All this is the process's own memory, of limited size, and forgotten with it.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from tesp_api.api.auth.recent import Recent
from tesp_api.api.limits.bucket import Bucket
from tesp_api.errors import LimitReached
from tesp_api.settings_limits import LoginLimits

_ADVICE = "look at the user name and the password, or the token, before you go on"


class LoginGuard:
    """One for each process. `clock` counts seconds."""

    def __init__(self, limits: LoginLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._places: Recent[str, Bucket] = Recent()
        self._names: Recent[str, Bucket] = Recent()
        self._failed: Recent[tuple[str, str], bool] = Recent()
        self._wrong: Recent[bytes, bool] = Recent()

    def count_wrong(self, place: str, name: str, credentials: bytes) -> None:
        """Note wrong credentials that came from a place; `name` is who they say it is, or "".

        Raises:
            LimitReached: too many that came before were wrong.
        """
        digest = hmac.digest(self._key, place.encode() + b" " + credentials, hashlib.sha256)
        if self._wrong.find(digest):
            return
        taken = [self._places.get(place, self._of_place)]
        self._require(taken[0], "per_address")
        if name:
            taken.append(self._names.get(name, self._of_user))
            if (place, name) in self._failed:
                self._require(taken[1], "per_user")
        for bucket in taken:
            bucket.take()
        self._failed.put((place, name), True)
        self._wrong.put(digest, True)

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

    def _of_place(self) -> Bucket:
        return Bucket(self._limits.per_address / self._limits.within_s, self._limits.per_address, self._clock)

    def _of_user(self) -> Bucket:
        return Bucket(self._limits.per_user / self._limits.within_s, self._limits.per_user, self._clock)
