"""What is remembered of those who were verified, for how long, and that it is asked for once."""

import asyncio
from datetime import timedelta

import argon2
import pytest

from tesp_api.api.auth import passwords
from tesp_api.api.auth.authenticator import Proof
from tesp_api.api.auth.identity import LOCAL, Identity
from tesp_api.api.auth.passwords import PasswordChecker, hash_password
from tesp_api.api.auth.verified import Verified
from tesp_api.errors import AuthenticationBusy, NotAuthenticated
from tesp_api.tes.times import now

pytestmark = pytest.mark.usefixtures("cheap_passwords")

ALICE = Identity(LOCAL, "alice")


class Clock:
    def __init__(self) -> None:
        self.moment = 1000.0

    def __call__(self) -> float:
        return self.moment


class Asked:
    """Verifies, and counts how often."""

    def __init__(self, proof: Proof | Exception) -> None:
        self.proof = proof
        self.times = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self) -> Proof:
        self.times += 1
        await self.go_on.wait()
        if isinstance(self.proof, Exception):
            raise self.proof
        return self.proof


async def test_what_was_verified_is_asked_again_after_the_time() -> None:
    clock, asked = Clock(), Asked(Proof(ALICE))
    verified = Verified(5.0, clock=clock)
    for moment, times in ((1000, 1), (1004.9, 1), (1005, 2), (1009.9, 2), (1011, 3)):
        clock.moment = moment
        assert await verified.identity(b"right", asked) == ALICE
        assert asked.times == times


async def test_the_time_counts_from_when_it_was_asked() -> None:
    clock, asked = Clock(), Asked(Proof(ALICE))
    verified = Verified(5.0, clock=clock)
    asked.go_on.clear()
    waiting = asyncio.ensure_future(verified.identity(b"right", asked))
    await asyncio.sleep(0)
    clock.moment += 6
    asked.go_on.set()
    assert await waiting == ALICE
    await verified.identity(b"right", asked)
    assert asked.times == 2


async def test_nothing_is_remembered_beyond_its_own_end() -> None:
    clock, asked = Clock(), Asked(Proof(ALICE, now() + timedelta(seconds=2)))
    verified = Verified(5.0, clock=clock)
    await verified.identity(b"right", asked)
    clock.moment += 2.1
    asked.proof = NotAuthenticated("expired")
    with pytest.raises(NotAuthenticated):
        await verified.identity(b"right", asked)


async def test_who_is_refused_is_not_remembered() -> None:
    asked = Asked(NotAuthenticated("no"))
    verified = Verified(5.0)
    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            await verified.identity(b"wrong", asked)
    asked.proof = Proof(ALICE)
    assert await verified.identity(b"wrong", asked) == ALICE
    assert asked.times == 3


async def test_those_who_come_at_once_share_one_question_and_none_takes_it_away() -> None:
    asked = Asked(Proof(ALICE))
    verified = Verified(5.0)
    asked.go_on.clear()
    waiting = [asyncio.ensure_future(verified.identity(b"right", asked)) for _ in range(5)]
    other = asyncio.ensure_future(verified.identity(b"other", asked))
    await asyncio.sleep(0)
    waiting[0].cancel()
    asked.go_on.set()
    assert await asyncio.gather(*waiting[1:], other) == [ALICE] * 5
    assert waiting[0].cancelled()
    assert asked.times == 2


async def test_a_password_is_hashed_once_as_long_as_its_hash_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = passwords._is_made_of

    def counting(stored: str, password: str) -> bool:
        checked.append(password)
        return check(stored, password)

    monkeypatch.setattr(passwords, "_is_made_of", counting)
    checker, stored, later = PasswordChecker(), hash_password("open sesame"), hash_password("abracadabra")
    for _ in range(3):
        assert await checker.is_right("alice", "open sesame", stored)
        assert not await checker.is_right("alice", "abracadabra", stored)
    assert sorted(checked) == ["abracadabra", "open sesame"]
    assert not await checker.is_right("alice", "open sesame", later)
    assert not await checker.is_right("alice", "open sesame", "")
    assert not await checker.is_right("alice", "open sesame", "")
    assert not await checker.is_right("alice", "open sesame", "no hash at all")
    assert len(checked) == 5  # who is not there costs as much as who is, and is remembered alike
    assert await checker.is_right("alice", "open sesame", stored)


async def test_a_flood_of_passwords_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_WAITING", 3)
    checker, stored = PasswordChecker(), hash_password("open sesame")
    outcomes = await asyncio.gather(
        *(checker.is_right("alice", f"guess {number}", stored) for number in range(5)), return_exceptions=True
    )
    assert outcomes.count(False) == 3
    assert sum(isinstance(outcome, AuthenticationBusy) for outcome in outcomes) == 2


def test_the_parameters_are_those_of_the_standard() -> None:
    """Source: RFC 9106, section 4: the second recommended option."""
    assert argon2.PasswordHasher().hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
