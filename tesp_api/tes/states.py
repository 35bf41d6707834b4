"""The life of a task, as a table.

Source: TES 1.1, tesState. UNKNOWN and PAUSED exist in the standard but no task of ours is ever in them.
"""

from enum import StrEnum


class State(StrEnum):
    """A task's state, in the standard's words."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"
    PREEMPTED = "PREEMPTED"
    CANCELING = "CANCELING"


_S = State

TRANSITIONS: dict[State, frozenset[State]] = {
    _S.QUEUED: frozenset({_S.INITIALIZING, _S.CANCELING, _S.CANCELED, _S.SYSTEM_ERROR}),
    _S.INITIALIZING: frozenset(
        {_S.RUNNING, _S.QUEUED, _S.CANCELING, _S.EXECUTOR_ERROR, _S.SYSTEM_ERROR, _S.PREEMPTED}
    ),
    _S.RUNNING: frozenset(
        {_S.COMPLETE, _S.EXECUTOR_ERROR, _S.SYSTEM_ERROR, _S.PREEMPTED, _S.QUEUED, _S.CANCELING}
    ),
    _S.CANCELING: frozenset({_S.CANCELED}),
    _S.COMPLETE: frozenset(),
    _S.EXECUTOR_ERROR: frozenset(),
    _S.SYSTEM_ERROR: frozenset(),
    _S.CANCELED: frozenset(),
    _S.PREEMPTED: frozenset(),
}
"""From each state, the states that may follow. QUEUED again means a new attempt."""

FINAL: frozenset[State] = frozenset(state for state, following in TRANSITIONS.items() if not following)

_SHOWN_TO_1_0 = {_S.CANCELING: _S.CANCELED, _S.PREEMPTED: _S.SYSTEM_ERROR}


def shown_to_1_0(state: State) -> State:
    """The state as clients of TES 1.0 (`/v1`) may see it: the two states that came with 1.1 are mapped."""
    return _SHOWN_TO_1_0.get(state, state)


def stored_states(shown: State, *, tes_1_0: bool) -> frozenset[State]:
    """The stored states that are shown as `shown`: what a list filter must look for."""
    if not tes_1_0:
        return frozenset({shown})
    return frozenset(state for state in State if shown_to_1_0(state) == shown)


def route(current: State, final: State) -> list[State]:
    """The shortest way from `current` to `final` through allowed transitions, `current` left out.

    A worker may have ended before its first event was read: the task then passes through the states
    that it was in. Empty if `final` is `current` or cannot be reached.
    """
    ways: list[list[State]] = [[current]]
    seen = {current}
    while ways:
        way = ways.pop(0)
        if way[-1] == final:
            return way[1:]
        for state in (_S.INITIALIZING, _S.RUNNING, _S.CANCELING, final):
            if state in TRANSITIONS.get(way[-1], frozenset()) and state not in seen:
                seen.add(state)
                ways.append([*way, state])
    return []
