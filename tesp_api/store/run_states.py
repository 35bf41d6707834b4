"""The life of a workflow run, as a table. The states' names are those of tasks.

Source: WES 1.1, State.
"""

from tesp_api.tes.states import State

_S = State

RUN_TRANSITIONS: dict[State, frozenset[State]] = {
    _S.QUEUED: frozenset({_S.INITIALIZING, _S.CANCELING, _S.SYSTEM_ERROR}),
    _S.INITIALIZING: frozenset({_S.RUNNING, _S.CANCELING, _S.EXECUTOR_ERROR, _S.SYSTEM_ERROR}),
    _S.RUNNING: frozenset({_S.COMPLETE, _S.EXECUTOR_ERROR, _S.SYSTEM_ERROR, _S.CANCELING}),
    _S.CANCELING: frozenset({_S.CANCELED}),
    _S.COMPLETE: frozenset(),
    _S.EXECUTOR_ERROR: frozenset(),
    _S.SYSTEM_ERROR: frozenset(),
    _S.CANCELED: frozenset(),
}
"""From each state, the states that may follow. A run that is taken over by another server keeps its own."""

RUN_FINAL: frozenset[State] = frozenset(state for state, after in RUN_TRANSITIONS.items() if not after)


def run_sources(to: State) -> list[State]:
    """The states from which a run can come into `to`."""
    return [state for state, following in RUN_TRANSITIONS.items() if to in following]
