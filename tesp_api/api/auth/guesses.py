"""Which passwords are looked at: of each user not more than somebody may guess.

Only names that there are come here, so what strangers send under other names is not theirs to suffer for:

- who has logged in from a place (`prefix_of` an address) before is counted there alone: `per_user` wrong
  ones;
- any other name has its first try from each place, so that nobody can lock a user out from elsewhere, and a
  guess costs a place;
- once it has failed there, it is looked at while neither that place (`per_address`) nor that user
  (`per_user`, from wherever) has failed too often. Of a place only failures of users that there are count.

What is not looked at is answered as any wrong login, also as late, so that nobody can tell it.
"""

import time
from collections.abc import Callable, Sequence

from tesp_api.api.auth.recent import Recent
from tesp_api.api.limits.bucket import Bucket
from tesp_api.settings_limits import LoginLimits

_Pair = tuple[str, str]


class GuessLimit:
    """One for each process. `clock` counts seconds."""

    def __init__(self, limits: LoginLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._places: Recent[str, Bucket] = Recent()
        self._names: Recent[str, Bucket] = Recent()
        self._known: Recent[_Pair, Bucket] = Recent()
        self._failed: Recent[_Pair, bool] = Recent()

    def begin(self, place: str, name: str) -> "Guess | None":
        """Begin to look at a password of a user that there is; None: it is not to be looked at.

        It counts as a wrong one until `Guess.end` says what it was, so those that come at once count too.
        """
        pair = (place, name)
        known = self._known.find(pair)
        buckets = [known] if known else [self._of_place(place), self._of_user(name)]
        is_first = known is None and pair not in self._failed
        with_room = [bucket for bucket in buckets if not bucket.missing_s()]
        if len(with_room) < len(buckets) and not is_first:
            return None
        for bucket in with_room:
            bucket.take()
        if known is None:
            self._failed.put(pair, True)
        return Guess(self, pair, with_room, is_first=is_first)

    def _of_place(self, place: str) -> Bucket:
        return self._places.get(place, lambda: self._bucket(self._limits.per_address))

    def _of_user(self, name: str) -> Bucket:
        return self._names.get(name, lambda: self._bucket(self._limits.per_user))

    def _bucket(self, most: int) -> Bucket:
        return Bucket(most / self._limits.within_s, most, self._clock)


class Guess:
    """A password that is being looked at."""

    def __init__(self, limit: GuessLimit, pair: _Pair, taken: Sequence[Bucket], *, is_first: bool) -> None:
        self._limit = limit
        self._pair = pair
        self._taken = taken
        self._is_first = is_first

    def end(self, outcome: bool | None) -> None:
        """Right, wrong, or (None) it could not be said."""
        if outcome is False:
            return
        for bucket in self._taken:
            bucket.take(-1)
        if self._is_first:
            self._limit._failed.drop(self._pair)
        if outcome:
            self._limit._known.get(self._pair, lambda: self._limit._bucket(self._limit._limits.per_user))
