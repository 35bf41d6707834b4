"""What is answered 429 because of wrong logins, and from where."""

import pytest

from tesp_api.api.auth.login_guard import LoginGuard
from tesp_api.errors import LimitReached
from tesp_api.settings_limits import LoginLimits

HERE, THERE = "192.0.2.1", "192.0.2.2"
PER_ADDRESS, PER_USER = 6, 3


class Door:
    """A guard with a clock that moves only when told to."""

    def __init__(self) -> None:
        self.moment = 0.0
        limits = LoginLimits(per_address=PER_ADDRESS, per_user=PER_USER, within_s=60)
        self.guard = LoginGuard(limits, clock=lambda: self.moment)
        self.count = 0

    def wrong(self, place: str, name: str = "", *, with_: str = "") -> str:
        """Fail, with credentials never used before unless they are given; the setting that forbids it."""
        self.count += 1
        try:
            self.guard.count_wrong(place, name, (with_ or f"guess {self.count}").encode())
        except LimitReached as full:
            self.waits_s = full.retry_after_s
            return full.name
        return ""


@pytest.fixture
def door() -> Door:
    return Door()


def test_after_so_many_wrong_logins_an_address_must_wait(door: Door) -> None:
    assert [door.wrong(HERE, f"user {n}") for n in range(PER_ADDRESS)] == [""] * PER_ADDRESS
    assert door.wrong(HERE, "user x") == "limits.logins.per_address"
    assert door.waits_s == 60 / PER_ADDRESS
    assert door.wrong(THERE, "user x") == ""
    door.moment += door.waits_s - 0.01
    assert door.wrong(HERE) == "limits.logins.per_address"
    door.moment += 0.01
    assert door.wrong(HERE) == ""
    assert door.wrong(HERE) == "limits.logins.per_address"


def test_many_addresses_share_what_one_name_may_fail_but_each_has_a_first_try(door: Door) -> None:
    assert [door.wrong(f"198.51.100.{n}", "alice") for n in range(20)] == [""] * 20
    assert door.wrong("198.51.100.1", "alice") == "limits.logins.per_user"
    assert door.wrong("198.51.100.1", "bob") == ""


def test_the_same_wrong_login_counts_once(door: Door) -> None:
    """A program that goes on with an old password."""
    for _ in range(10 * PER_ADDRESS):
        assert door.wrong(HERE, "alice", with_="the old one") == ""
    for _ in range(PER_ADDRESS - 1):
        assert door.wrong(HERE, "") == ""
    assert door.wrong(HERE, "") == "limits.logins.per_address"
    assert door.wrong(HERE, "alice", with_="the old one") == ""
