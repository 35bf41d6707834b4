"""Points in time: always aware, always UTC."""

import time
from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


class SteadyClock:
    """A clock that nobody sets: it starts at the present moment, and goes on as the monotonic clock does."""

    def __init__(self) -> None:
        self._began_at, self._began = now(), time.monotonic()

    def __call__(self) -> datetime:
        return self._began_at + timedelta(seconds=time.monotonic() - self._began)


def rfc3339(moment: datetime) -> str:
    """An aware `moment` as RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000000+00:00`.

    Always of the same length, so that such texts sort by time.

    Raises:
        ValueError: `moment` is naive, and so could mean several points in time.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
