"""What is remembered of those who were verified, for how long, and that it is asked for once."""

import asyncio
from datetime import timedelta

import pytest

from tesp_api.api.auth import verified as verified_module
from tesp_api.api.auth.authenticator import Proof
from tesp_api.api.auth.identity import LOCAL, Identity
from tesp_api.api.auth.verified import Verified
from tesp_api.errors import NotAuthenticated
from tesp_api.tes.times import now

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


async def test_who_tries_out_many_does_not_find_what_was_right() -> None:
    """Of those who may be one: from the same place, in the same name."""
    asked, wrong = Asked(Proof(ALICE)), Asked(NotAuthenticated("no"))
    verified = Verified(5.0)
    await verified.identity(b"right", asked, whose="here alice")
    await verified.identity(b"right there", asked, whose="there alice")
    await verified.identity(b"token", asked)
    for whose in ("here alice", "here bob", ""):
        with pytest.raises(NotAuthenticated):
            await verified.identity(b"wrong", wrong, whose=whose)
    assert verified.known(b"right") is None
    assert verified.known(b"right there") == verified.known(b"token") == ALICE
    assert await verified.identity(b"right", asked, whose="here alice") == ALICE
    assert asked.times == 4


async def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified_module, "_REMEMBERED", 3)
    verified = Verified(5.0)
    for number in range(9):
        await verified.identity(b"%d" % number, Asked(Proof(ALICE)), whose=f"here user {number}")
    assert [verified.known(b"%d" % number) is not None for number in range(9)] == [False] * 6 + [True] * 3
    assert len(verified._guessable) == 3
