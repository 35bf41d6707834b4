"""Which passwords of users are looked at, and that others' failures keep nobody from the own right one."""

import pytest

from tesp_api.api.auth.guesses import Guess, GuessLimit
from tesp_api.settings_limits import LoginLimits

HERE, THERE = "192.0.2.1", "192.0.2.2"
PER_ADDRESS, PER_USER = 6, 3


class Door:
    """A limit with a clock that moves only when told to."""

    def __init__(self) -> None:
        self.moment = 0.0
        limits = LoginLimits(per_address=PER_ADDRESS, per_user=PER_USER, within_s=60)
        self.limit = GuessLimit(limits, clock=lambda: self.moment)

    def begin(self, place: str, name: str) -> Guess:
        guess = self.limit.begin(place, name)
        assert guess is not None
        return guess

    def knock(self, place: str, name: str, *, right: bool | None = False) -> bool:
        """Whether the password is looked at; then it is this."""
        guess = self.limit.begin(place, name)
        if guess is not None:
            guess.end(right)
        return guess is not None


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_name_is_guessed_at_so_often_from_one_place(door: Door) -> None:
    assert [door.knock(HERE, "alice") for _ in range(PER_USER + 2)] == [True] * PER_USER + [False] * 2
    door.moment += 60 / PER_USER
    assert door.knock(HERE, "alice")
    assert not door.knock(HERE, "alice")


def test_where_others_failed_too_often_each_user_has_a_first_try(door: Door) -> None:
    for number in range(2 * PER_ADDRESS):
        assert door.knock(HERE, f"user {number}")
    assert not door.knock(HERE, "user 0")
    assert door.knock(HERE, "alice", right=True)
    assert door.knock(HERE, "bob")
    assert not door.knock(HERE, "bob", right=True)
    assert door.knock(THERE, "bob", right=True)


def test_first_tries_keep_nobody_waiting_for_longer(door: Door) -> None:
    """They are looked at beyond what a place and a user may fail, and do not count beyond it."""
    for number in range(10 * PER_ADDRESS):
        door.knock(f"198.51.100.{number}", "alice")
        door.knock(HERE, f"user {number}")
    door.moment += 60 / PER_USER
    assert door.knock("198.51.100.1", "alice")
    assert door.knock(HERE, "user 1")


def test_nobody_locks_a_user_out_from_elsewhere(door: Door) -> None:
    for number in range(50):
        door.knock(f"198.51.100.{number % 10}", "alice")
    assert door.knock(HERE, "alice", right=True)
    assert door.knock(HERE, "alice", right=True)


def test_who_has_logged_in_from_an_address_does_not_wait_for_others_there(door: Door) -> None:
    assert door.knock(HERE, "alice", right=True)
    for number in range(2 * PER_ADDRESS):
        door.knock(HERE, f"user {number}")
    assert [door.knock(HERE, "alice") for _ in range(PER_USER)] == [True] * PER_USER
    assert not door.knock(HERE, "alice", right=True)


def test_what_was_right_or_could_not_be_said_counts_for_nothing(door: Door) -> None:
    for outcome in (True, None):
        for number in range(10 * PER_ADDRESS):
            assert door.knock(HERE, f"user {number % 2} {outcome}", right=outcome)


def test_those_at_the_same_time_do_not_pass_before_the_first_has_failed(door: Door) -> None:
    guesses = [door.begin(HERE, "alice") for _ in range(PER_USER)]
    assert not door.knock(HERE, "alice")
    guesses[0].end(True)
    assert door.knock(HERE, "alice")
