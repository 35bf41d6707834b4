"""Passwords that are checked: how often, in which order, and that strangers' junk costs users nothing."""

import asyncio
import threading
import time
from collections.abc import Iterator

import argon2
import pytest
from argon2.exceptions import HashingError, VerificationError

from tesp_api.api.auth import password_line, password_turns, passwords, recent
from tesp_api.api.auth.passwords import PasswordChecker, hash_password
from tesp_api.errors import AuthenticationBusy
from tesp_api.settings_limits import LoginLimits

pytestmark = pytest.mark.usefixtures("cheap_passwords")

LIMITS = LoginLimits()
HERE, THERE = "192.0.2.1", "192.0.2.2"


class Checks:
    """Notes which passwords argon2 is asked for, which takes until `go_on` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self._check = passwords._is_made_of
        monkeypatch.setattr(passwords, "_is_made_of", self)

    def __call__(self, stored: str, password: str) -> bool:
        self.asked.append(password if stored else "for nobody")
        self.began.set()
        assert self.go_on.wait(20)
        return self._check(stored, password)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    monkeypatch.setattr(password_line, "checks_at_once", lambda: 1)
    found = Checks(monkeypatch)
    yield found
    found.go_on.set()


async def begun(checks: Checks) -> None:
    assert await asyncio.to_thread(checks.began.wait, 60)


async def test_a_password_is_hashed_once_as_long_as_its_hash_stays(checks: Checks) -> None:
    checker = PasswordChecker(LIMITS)
    stored, later = hash_password("open sesame"), hash_password("abracadabra")
    for _ in range(3):
        assert await checker.is_right("alice", "open sesame", stored)
    assert not await checker.is_right("alice", "abracadabra", stored)
    assert checks.asked == ["open sesame", "abracadabra"]
    assert not await checker.is_right("alice", "open sesame", later)
    assert not await checker.is_right("alice", "open sesame", "no hash at all")
    assert len(checks.asked) == 4
    assert not await checker.is_right("alice", "open sesame", "")
    assert await checker.is_right("alice", "open sesame", stored)


async def test_a_user_does_not_wait_for_names_that_nobody_has(
    monkeypatch: pytest.MonkeyPatch, checks: Checks
) -> None:
    """A thousand of them come first, and take one check; then comes a rest."""
    monkeypatch.setattr(password_line, "_REST", 10**6)
    checker = PasswordChecker(LIMITS)
    checks.began.clear()
    checks.go_on.clear()
    first = asyncio.create_task(checker.is_right("bob", "wrong", hash_password("right"), place=THERE))
    await begun(checks)
    junk = [asyncio.create_task(checker.is_right(f"nobody {n}", "junk", "", place=HERE)) for n in range(1000)]
    await asyncio.sleep(0)
    mine = asyncio.create_task(checker.is_right("alice", "mine", hash_password("mine"), place=HERE))
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in (first, mine, *junk))
    checks.go_on.set()
    assert await mine
    assert checks.asked == ["wrong", "for nobody", "mine"]
    assert not any(await asyncio.gather(first, *junk))


async def test_a_quiet_server_checks_a_name_that_nobody_has_like_any_other(checks: Checks) -> None:
    checker = PasswordChecker(LIMITS)
    assert not await checker.is_right("nobody", "one", "")
    assert not await checker.is_right("alice", "two", hash_password("mine"))
    assert checks.asked == ["for nobody", "two"]


async def test_what_is_wrong_is_told_at_set_times_whatever_was_found(
    monkeypatch: pytest.MonkeyPatch, checks: Checks
) -> None:
    monkeypatch.setattr(passwords, "_TOLD_EVERY_S", 0.3)
    checker, stored = PasswordChecker(LIMITS), hash_password("mine")

    async def wrong(name: str, hashed: str) -> float:
        began_at = time.monotonic()
        assert not await checker.is_right(name, "guess", hashed)
        return time.monotonic() - began_at

    for name, hashed in (("alice", stored), ("nobody", ""), ("alice", stored), ("nobody", "")):
        assert await wrong(name, hashed) >= 0.3
    checks.began.clear()
    checks.go_on.clear()
    first = asyncio.create_task(checker.is_right("bob", "mine", stored))
    await begun(checks)
    late = [
        asyncio.create_task(wrong(name, hashed)) for name, hashed in (("carol", stored), ("nobody 2", ""))
    ]
    await asyncio.sleep(0.31)
    checks.go_on.set()
    assert await first
    assert min(await asyncio.gather(*late)) >= 0.6


async def test_strangers_push_nothing_out_that_is_remembered_of_users(
    monkeypatch: pytest.MonkeyPatch, checks: Checks
) -> None:
    monkeypatch.setattr(recent, "_KNOWN", 2)
    checker, stored = PasswordChecker(LIMITS), hash_password("mine")
    assert await checker.is_right("alice", "mine", stored)
    assert not await checker.is_right("alice", "old", stored)
    for number in range(4):
        assert not await checker.is_right(f"nobody {number}", "junk", "")
        assert not await checker.is_right("alice", "old", stored)
        assert await checker.is_right("alice", "mine", stored)
    assert [password for password in checks.asked if password != "for nobody"] == ["mine", "old"]


async def test_a_password_that_is_guessed_at_is_looked_at_no_more_from_there(checks: Checks) -> None:
    checker, stored = PasswordChecker(LoginLimits(per_user=3)), hash_password("mine")
    for number in range(5):
        assert not await checker.is_right("alice", f"guess {number}", stored, place=HERE)
    assert [one for one in checks.asked if one != "for nobody"] == ["guess 0", "guess 1", "guess 2"]
    assert not await checker.is_right("alice", "mine", stored, place=HERE)
    assert await checker.is_right("alice", "mine", stored, place=THERE)
    assert not await checker.is_right("alice", "mine", stored, place=HERE)  # though it is known to be right


async def test_the_same_wrong_password_counts_once(checks: Checks) -> None:
    checker, stored = PasswordChecker(LoginLimits(per_user=2)), hash_password("mine")
    for _ in range(5):
        assert not await checker.is_right("alice", "old", stored, place=HERE)
    assert await checker.is_right("alice", "mine", stored, place=HERE)


async def test_a_flood_of_passwords_is_turned_away(monkeypatch: pytest.MonkeyPatch, checks: Checks) -> None:
    """Of users; and as long as there is no room for these, of everybody."""
    monkeypatch.setattr(password_line, "_WAITING_MAX", 3)
    checker, stored = PasswordChecker(LIMITS), hash_password("mine")
    checks.go_on.clear()
    waiting = [asyncio.create_task(checker.is_right(f"user {n}", "mine", stored)) for n in range(3)]
    await begun(checks)
    for name, hashed in (("alice", stored), ("nobody", "")):
        with pytest.raises(AuthenticationBusy):
            await checker.is_right(name, "mine", hashed)
    checks.go_on.set()
    assert all(await asyncio.gather(*waiting))
    assert await checker.is_right("alice", "mine", stored)


class Failing:
    """An argon2 that has no memory for a while."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def verify(self, stored: str, password: str) -> bool:
        raise self._fault

    def hash(self, password: str) -> str:
        raise self._fault


@pytest.mark.parametrize(
    "fault",
    [VerificationError("Memory allocation error"), HashingError("Threading failure"), MemoryError()],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_check_that_cannot_be_made_makes_no_password_wrong(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Nor does it count as a guess; and names that nobody has are answered alike."""
    checker, stored = PasswordChecker(LoginLimits(per_user=1, per_address=1)), hash_password("mine")
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "_hasher", Failing(fault))
        for name, hashed in (("alice", stored), ("nobody", ""), ("alice", stored), ("nobody", "")):
            with pytest.raises(AuthenticationBusy, match="memory"):
                await checker.is_right(name, "mine", hashed, place=HERE)
    assert await checker.is_right("alice", "mine", stored, place=HERE)
    assert not await checker.is_right("nobody", "mine", "", place=HERE)


async def test_of_one_name_from_one_place_one_password_is_in_the_line(checks: Checks) -> None:
    """So it keeps the others waiting for one check, as it would if there was no such name."""
    checker, stored = PasswordChecker(LIMITS), hash_password("mine")
    checks.began.clear()
    checks.go_on.clear()
    guesses = [asyncio.create_task(checker.is_right("alice", f"{n}", stored, place=HERE)) for n in range(5)]
    await begun(checks)
    bob = asyncio.create_task(checker.is_right("bob", "bobs", hash_password("bobs"), place=HERE))
    await asyncio.sleep(0.01)
    checks.go_on.set()
    assert await bob
    assert checks.asked.index("bobs") <= 2
    assert not any(await asyncio.gather(*guesses))


async def test_many_passwords_for_a_name_that_nobody_has_take_as_long_as_for_a_user(
    monkeypatch: pytest.MonkeyPatch, checks: Checks
) -> None:
    monkeypatch.setattr(password_line, "_REST", 10**6)
    checker = PasswordChecker(LIMITS)
    checker._line._typical_s = 0.2
    began_at = time.monotonic()
    assert not any(
        await asyncio.gather(*(checker.is_right("nobody", f"{n}", "", place=HERE) for n in range(6)))
    )
    assert time.monotonic() - began_at >= 5 * 0.2 * 7 / 8  # one was checked for, in no time


@pytest.mark.parametrize("bound", ["_TOGETHER_MAX", "_OF_PLACE_MAX", "_OF_NAME_MAX"])
async def test_those_who_wait_for_an_answer_are_bounded(
    monkeypatch: pytest.MonkeyPatch, checks: Checks, bound: str
) -> None:
    """Whatever their names are; nothing is left of them once they are answered."""
    monkeypatch.setattr(password_turns, bound, 2)
    checker, stored = PasswordChecker(LIMITS), hash_password("mine")
    checks.began.clear()
    checks.go_on.clear()
    waiting = [asyncio.create_task(checker.is_right("alice", f"{n}", "", place=HERE)) for n in range(2)]
    await begun(checks)
    for hashed in ("", stored):
        with pytest.raises(AuthenticationBusy):
            await checker.is_right("alice", "mine", hashed, place=HERE)
    checks.go_on.set()
    assert not any(await asyncio.gather(*waiting))
    assert await checker.is_right("alice", "mine", stored, place=HERE)
    turns = checker._turns
    assert (turns._together, len(turns._of_place), len(turns._of_name), len(turns._locks)) == (0, 0, 0, 0)


def test_the_parameters_are_those_of_the_standard() -> None:
    """Source: RFC 9106, section 4: the second recommended option."""
    assert argon2.PasswordHasher().hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
