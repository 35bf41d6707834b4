"""Points in time: always aware, always UTC."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """An aware `moment` as RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000000+00:00`.

    Always of the same length, so that such texts sort by time.

    Raises:
        ValueError: `moment` is naive, and so could mean several points in time.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
