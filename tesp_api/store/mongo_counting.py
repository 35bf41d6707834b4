"""What counts in MongoDB have in common: which tasks are live, and how long what was counted is used."""

from tesp_api.tes.states import FINAL, State

LIVE = [state.value for state in State if state not in FINAL]
ENDED = [state.value for state in FINAL]

_COSTS = 20


def used_for_s(took_s: float, least_s: float) -> float:
    """How long to use a count that took so long: a twentieth of the time at most goes into counting."""
    return max(least_s, _COSTS * took_s)
