"""How long to wait until a job is looked at again, if nobody tells of news before."""

from tesp_api.settings import SchedulerSettings

_SLOW_FROM_S = 120.0
"""Beyond a tenth of that, the pauses grow as the square of a job's age."""

_LOOKS_PER_S = 200.0
"""At a Pulsar of whose jobs nothing is heard otherwise."""

_RING_LOST_S = 0.5
"""Where workers ring, a look without a ring is only for one that was not heard."""


def pause_s(age_s: float, timing: SchedulerSettings, *, rings: bool, crowd: int) -> float:
    """The pause after a look at a job that has been running for `age_s`.

    A tenth of its age at first; 30 s, if `poll_max_s` allows as much, once it has run a minute. Where workers
    cannot ring, the `crowd` of jobs that are there share what their Pulsar can answer.
    """
    pause_s = max(timing.poll_min_s, age_s / 10, age_s**2 / _SLOW_FROM_S)
    least_s = _RING_LOST_S if rings else crowd / _LOOKS_PER_S
    return min(max(pause_s, least_s), timing.poll_max_s)
