"""The ids of tasks: UUIDv7, so that sorting by id is sorting by age.

Source: RFC 9562, section 5.7 and 6.2 (method 2, monotonic random).
"""

import secrets
import threading
import time
import uuid

_RANDOM_BITS = 74
_LOW_BITS = 62
_VERSION_7 = 7 << 76
_VARIANT = 0b10 << 62

_lock = threading.Lock()
_last = 0


def new_task_id() -> str:
    """A new id, greater as a string than all that this process has made before.

    Safe to call from several threads. While the clock stands still or has been set back, ids go on
    counting from the last one. An id is hard to guess, but no secret.
    """
    moment = time.time_ns() // 1_000_000 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return str(uuid.UUID(int=_spread(_next_after_last(moment))))


def _next_after_last(moment: int) -> int:
    global _last
    with _lock:
        _last = moment if moment > _last else _last + 1 + secrets.randbits(32)
        return _last


def _spread(moment: int) -> int:
    """Put the 48 bits of time and 74 random bits around the version and variant of a UUID."""
    time_ms = moment >> _RANDOM_BITS
    high = moment >> _LOW_BITS & 0xFFF
    low = moment & (1 << _LOW_BITS) - 1
    return time_ms << 80 | _VERSION_7 | high << 64 | _VARIANT | low
