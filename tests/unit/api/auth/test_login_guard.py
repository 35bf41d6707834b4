"""Who must wait because of wrong logins, for how long, and who need not."""

import asyncio
import itertools
import time

import pytest

from tesp_api.api.auth import passwords
from tesp_api.api.auth.login_guard import LoginGuard
from tesp_api.api.auth.passwords import PasswordChecker, hash_password
from tesp_api.errors import LimitReached
from tesp_api.settings_limits import LoginLimits

HERE, THERE = "192.0.2.1", "192.0.2.2"
PER_ADDRESS, PER_USER = 6, 3


class Door:
    """A guard with a clock that moves only when told to, and logins whose outcome is told beforehand."""

    def __init__(self) -> None:
        self.moment = 0.0
        limits = LoginLimits(per_address=PER_ADDRESS, per_user=PER_USER, within_s=60)
        self.guard = LoginGuard(limits, clock=lambda: self.moment)
        self.count = 0

    def knock(
        self,
        address: str,
        name: str = "",
        *,
        right: bool | None = False,
        with_: str = "",
        token: bool = False,
    ) -> str:
        """Try once, with credentials never used before unless they are given; the setting that forbids it."""
        self.count += 1
        credentials = (with_ or f"guess {self.count}").encode()
        try:
            self.guard.attempt(address, name, credentials, is_guessable=not token).end(right)
        except LimitReached as full:
            self.waits_s = full.retry_after_s
            return full.name
        return ""


@pytest.fixture
def door() -> Door:
    return Door()


def test_after_so_many_wrong_logins_an_address_must_wait(door: Door) -> None:
    assert [door.knock(HERE, f"user {n}") for n in range(PER_ADDRESS)] == [""] * PER_ADDRESS
    assert door.knock(HERE, "user x") == "limits.logins.per_address"
    assert door.waits_s == 60 / PER_ADDRESS
    assert door.knock(THERE, "user x") == ""
    door.moment += door.waits_s - 0.01
    assert door.knock(HERE) == "limits.logins.per_address"
    door.moment += 0.01
    assert door.knock(HERE) == ""
    assert door.knock(HERE) == "limits.logins.per_address"


def test_the_addresses_of_one_ipv6_network_are_one(door: Door) -> None:
    for number in range(PER_ADDRESS):
        assert door.knock(f"2001:db8:1:2::{number}") == ""
    assert door.knock("2001:db8:1:2:ffff::1") == "limits.logins.per_address"
    assert door.knock("2001:db8:1:3::1") == ""
    for number in range(PER_ADDRESS):
        assert door.knock("::ffff:192.0.2.9") == "", number
    assert door.knock("192.0.2.9") == "limits.logins.per_address"


def test_many_addresses_share_what_one_name_may_fail_but_each_has_a_first_try(door: Door) -> None:
    assert [door.knock(f"198.51.100.{n}", "alice") for n in range(20)] == [""] * 20
    assert door.knock("198.51.100.1", "alice") == "limits.logins.per_user"
    assert door.knock("198.51.100.1", "bob") == ""


def test_nobody_locks_a_user_out_from_elsewhere(door: Door) -> None:
    for number in range(50):
        door.knock(f"198.51.100.{number % 10}", "alice")
    assert door.knock(HERE, "alice", right=True) == ""
    assert door.knock(HERE, "alice", right=True) == ""


def test_who_has_logged_in_from_an_address_does_not_wait_for_others_there(door: Door) -> None:
    assert door.knock(HERE, "alice", right=True) == ""
    for number in range(2 * PER_ADDRESS):
        door.knock(HERE, f"user {number}")
    assert door.knock(HERE, "bob", right=True) == "limits.logins.per_address"
    assert door.knock(HERE, "alice", right=True) == ""
    assert [door.knock(HERE, "alice") for _ in range(PER_USER)] == [""] * PER_USER
    assert door.knock(HERE, "alice") == "limits.logins.per_user"


def test_the_same_wrong_login_counts_once(door: Door) -> None:
    """A program that goes on with an old password."""
    for _ in range(10 * PER_ADDRESS):
        assert door.knock(HERE, "alice", with_="the old one") == ""
    assert door.knock(HERE, "alice", right=True) == ""
    for _ in range(PER_ADDRESS - 1):
        assert door.knock(HERE, "") == ""
    assert door.knock(HERE, "") == "limits.logins.per_address"
    assert door.knock(HERE, "alice", with_="the old one") == ""


def test_what_was_right_or_cannot_be_said_counts_for_nothing(door: Door) -> None:
    for outcome in (True, None):
        for number in range(10 * PER_ADDRESS):
            assert door.knock(HERE, f"user {number}", right=outcome) == ""


def test_a_right_token_does_not_wait_for_wrong_ones_of_others(door: Door) -> None:
    for _ in range(PER_ADDRESS):
        assert door.knock(HERE, token=True) == ""
    assert door.knock(HERE, token=True) == "limits.logins.per_address"
    assert door.waits_s == 60 / PER_ADDRESS
    assert door.knock(HERE, right=True, with_="the first", token=True) == ""
    assert door.knock(HERE, "token x", right=True, token=True) == ""
    assert door.knock(HERE, right=None, token=True) == ""
    assert door.knock(HERE, token=True) == "limits.logins.per_address"


def test_wrong_tokens_count_once_and_together_with_passwords(door: Door) -> None:
    for _ in range(10 * PER_ADDRESS):
        assert door.knock(HERE, with_="the old one", token=True) == ""
    for _ in range(PER_ADDRESS - 1):
        assert door.knock(HERE) == ""
    assert door.knock(HERE, token=True) == "limits.logins.per_address"
    assert door.knock(HERE, with_="the old one", token=True) == ""
    assert [door.knock(THERE, "token x", token=True) for _ in range(PER_USER)] == [""] * PER_USER
    assert door.knock(THERE, "token x", token=True) == "limits.logins.per_user"


def test_tokens_that_are_still_looked_at_keep_no_password_waiting(door: Door) -> None:
    attempts = [door.guard.attempt(HERE, "", b"%d" % n, is_guessable=False) for n in range(PER_ADDRESS)]
    assert door.knock(HERE, "alice", right=True) == ""
    for attempt in attempts:
        attempt.end(False)
    assert door.knock(HERE, "bob") == "limits.logins.per_address"


def test_those_at_the_same_time_do_not_pass_before_the_first_has_failed(door: Door) -> None:
    attempts = [door.guard.attempt(HERE, "", b"%d" % n, is_guessable=True) for n in range(PER_ADDRESS)]
    assert door.knock(HERE) == "limits.logins.per_address"
    attempts[0].end(True)
    assert door.knock(HERE) == ""


async def test_strangers_passwords_leave_the_processor_to_others(
    monkeypatch: pytest.MonkeyPatch, cheap_passwords: None
) -> None:
    """However many come at once: they are looked at one by one, with rests, and known users pass them by."""
    spans: list[tuple[float, float]] = []

    def slow(stored: str, password: str) -> bool:
        began_at = time.monotonic()
        time.sleep(0.05)
        if password.startswith("guess"):
            spans.append((began_at, time.monotonic()))
        return False

    monkeypatch.setattr(passwords, "_is_made_of", slow)
    checker, stored = PasswordChecker(), hash_password("x")
    strangers = [asyncio.create_task(checker.is_right("a", f"guess {n}", stored)) for n in range(4)]
    await asyncio.sleep(0.01)
    await checker.is_right("b", "mine", stored, is_known=True)
    assert not all(stranger.done() for stranger in strangers)
    await asyncio.gather(*strangers)
    for (_, ended_at), (began_at, _) in itertools.pairwise(spans):
        assert began_at - ended_at >= passwords._REST * 0.05
