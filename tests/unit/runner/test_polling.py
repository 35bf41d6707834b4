from itertools import pairwise

import pytest

from tesp_api.runner.polling import pause_s
from tesp_api.settings import SchedulerSettings

TIMING = SchedulerSettings()


@pytest.mark.parametrize(
    ("age_s", "expected_s"), [(0, 0.05), (0.5, 0.05), (2, 0.2), (10, 1), (60, 30), (61, 30), (10**6, 30)]
)
def test_the_longer_a_job_has_run_the_more_seldom_it_is_looked_at(age_s: float, expected_s: float) -> None:
    assert pause_s(age_s, TIMING, rings=False, crowd=1) == pytest.approx(expected_s)


def test_once_it_has_run_a_minute_a_job_is_looked_at_twice_a_minute_at_most() -> None:
    looks, age_s = [], 0.0
    while age_s < 600:
        age_s += pause_s(age_s, TIMING, rings=False, crowd=1)
        looks.append(age_s)
    late = [age_s for age_s in looks if age_s >= 60]
    assert all(later - earlier >= 30 for earlier, later in pairwise(late))


def test_many_jobs_share_what_their_pulsar_can_answer() -> None:
    looks_per_s = 1000 / pause_s(0, TIMING, rings=False, crowd=1000)
    assert looks_per_s == pytest.approx(200)
    assert pause_s(0, TIMING, rings=False, crowd=100_000) == 30


def test_jobs_that_ring_are_looked_at_seldom_however_many_there_are() -> None:
    assert pause_s(0, TIMING, rings=True, crowd=10_000) == 0.5


def test_the_settings_have_the_last_word() -> None:
    timing = SchedulerSettings(poll_min_s=0.2, poll_max_s=0.3)
    assert pause_s(0, timing, rings=False, crowd=1) == 0.2
    assert pause_s(100, timing, rings=True, crowd=1000) == 0.3
