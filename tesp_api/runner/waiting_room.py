"""How many tasks are held while they wait: pure functions of who has how many.

`waiting_max` in all, whoever they are of. Beyond that as many again are for users who have few: a twentieth
of each, or less where there are more users. And where these are taken as well, one of each user, so that
nobody is not looked at because of others. What is held, and the time to look through it, so grows with the
settings, and by one task with each user.
"""

from collections.abc import Mapping

_SHARED_BY = 20


def room_of(count: int, waiting: Mapping[str, int], waiting_max: int) -> int:
    """How many more tasks of a user may be held, of whom there are `count`; `waiting` has all users'."""
    total = sum(waiting.values())
    return max(0, waiting_max - total, _newcomers_room(count, total, len(waiting), waiting_max))


def _newcomers_room(count: int, total: int, users: int, waiting_max: int) -> int:
    if total >= 2 * waiting_max:
        return 1 - count
    share = max(1, waiting_max // max(_SHARED_BY, users + 1))
    return min(share - count, 2 * waiting_max - total)
