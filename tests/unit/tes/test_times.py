from datetime import UTC, datetime, timedelta, timezone

import pytest

from tesp_api.tes.times import now, rfc3339


def test_now_is_aware_and_utc() -> None:
    assert now().utcoffset() == timedelta(0)


def test_a_time_is_written_in_utc_with_microseconds() -> None:
    assert rfc3339(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00.000000+00:00"
    prague = timezone(timedelta(hours=1))
    assert rfc3339(datetime(2026, 1, 1, 0, 30, 0, 5, prague)) == "2025-12-31T23:30:00.000005+00:00"


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        rfc3339(datetime(2026, 1, 31))
