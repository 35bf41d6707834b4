"""The table of states: who may follow whom, what old clients see, which way leads to an end."""

import pytest

from tesp_api.tes.states import FINAL, TRANSITIONS, State, route, shown_to_1_0, stored_states


def test_final_states_are_those_that_nothing_follows() -> None:
    assert {
        State.COMPLETE,
        State.EXECUTOR_ERROR,
        State.SYSTEM_ERROR,
        State.CANCELED,
        State.PREEMPTED,
    } == FINAL


def test_clients_of_1_0_see_no_state_of_1_1() -> None:
    shown = {shown_to_1_0(state) for state in State}
    assert not shown & {State.CANCELING, State.PREEMPTED}


@pytest.mark.parametrize("shown", list(State))
def test_a_filter_finds_just_what_is_shown_so(shown: State) -> None:
    assert stored_states(shown, tes_1_0=True) == {state for state in State if shown_to_1_0(state) == shown}
    assert stored_states(shown, tes_1_0=False) == {shown}


@pytest.mark.parametrize(
    ("current", "final", "way"),
    [
        (State.QUEUED, State.COMPLETE, [State.INITIALIZING, State.RUNNING, State.COMPLETE]),
        (State.QUEUED, State.SYSTEM_ERROR, [State.SYSTEM_ERROR]),
        (State.QUEUED, State.EXECUTOR_ERROR, [State.INITIALIZING, State.EXECUTOR_ERROR]),
        (State.RUNNING, State.CANCELED, [State.CANCELING, State.CANCELED]),
        (State.CANCELING, State.COMPLETE, []),
        (State.COMPLETE, State.COMPLETE, []),
    ],
)
def test_the_shortest_way_to_an_end(current: State, final: State, way: list[State]) -> None:
    assert route(current, final) == way


@pytest.mark.parametrize("current", [state for state in TRANSITIONS if state not in FINAL])
@pytest.mark.parametrize("final", sorted(FINAL))
def test_every_step_of_a_way_is_allowed(current: State, final: State) -> None:
    for step in route(current, final):
        assert step in TRANSITIONS[current]
        current = step
