"""The ids of tasks: UUIDv7, so that sorting by id is sorting by age.

Source: RFC 9562, section 5.7 and 6.2 (method 2, monotonic random).
"""

import math
import os
import secrets
import threading
import time
from datetime import datetime

_RANDOM_BITS = 74
_LOW_BITS = 62
_VERSION_7 = 7 << 76
_VARIANT = 0b10 << 62

_RANDOM_BYTES = 10
_RESERVE_BYTES = 400 * _RANDOM_BYTES

_lock = threading.Lock()
_last = 0
_reserve = b""


def new_task_id() -> str:
    """A new id, greater as a string than all that this process has made before.

    Safe to call from several threads. While the clock stands still or has been set back, ids go on
    counting from the last one. An id is hard to guess, but no secret.
    """
    digits = f"{_spread(_next_moment()):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def first_id_at(moment: datetime) -> str:
    """Sorts before all ids that are made at `moment` or later, and after all that were made before it.

    Ids know milliseconds.
    """
    digits = f"{max(0, math.ceil(moment.timestamp() * 1000)):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def made_at_s(task_id: str) -> float:
    """When an id was made, in seconds since 1970, by the clock of its server; 0 of what is no such id."""
    try:
        return int(task_id.replace("-", "")[:12], 16) / 1000
    except ValueError:
        return 0.0


def _next_moment() -> int:
    """The time in milliseconds and 74 random bits, as one number that is greater than the last one."""
    global _last
    with _lock:
        random = _random_bits()
        moment = time.time_ns() // 1_000_000 << _RANDOM_BITS | random
        _last = moment if moment > _last else _last + 1 + (random & 0xFFFFFFFF)
        return _last


def _random_bits() -> int:
    """74 random bits. The system is asked for many at a time, since each call lets other threads go first."""
    global _reserve
    if not _reserve:
        _reserve = secrets.token_bytes(_RESERVE_BYTES)
    taken, _reserve = _reserve[:_RANDOM_BYTES], _reserve[_RANDOM_BYTES:]
    return int.from_bytes(taken) >> 8 * _RANDOM_BYTES - _RANDOM_BITS


def _forget_reserve() -> None:
    global _reserve
    _reserve = b""


os.register_at_fork(after_in_child=_forget_reserve)


def _spread(moment: int) -> int:
    """Put the 48 bits of time and 74 random bits around the version and variant of a UUID."""
    time_ms = moment >> _RANDOM_BITS
    high = moment >> _LOW_BITS & 0xFFF
    low = moment & (1 << _LOW_BITS) - 1
    return time_ms << 80 | _VERSION_7 | high << 64 | _VARIANT | low
