"""Signatures that are asked for many at a time: few questions, and none that stops what needs no answer."""

import time
from collections.abc import Sequence

import pytest

from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer.lending import Ask, NoLender, Signed
from tesp_api.worker.transfer.signatures import FRESH_S, SIGNED_AT_ONCE, Signatures, SigningAhead


class Signing(NoLender):
    """Signs all but one URL, and keeps what it was asked."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.batches: list[list[str]] = []

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        self.batches.append([ask.url for ask in asks])
        if self.refused in self.batches[-1]:
            raise StagingError(f"{self.refused}: not lent")
        return [Signed("PUT", f"{ask.url}?{len(self.batches)}", {}) for ask in asks]


def signatures(lender: Signing, count: int) -> Signatures:
    return Signatures(count, lambda number: Ask("get", f"s3://lab/{number}"), lender)


def test_the_next_batch_is_there_before_it_is_needed() -> None:
    lender = Signing()
    wanted = signatures(lender, 2 * SIGNED_AT_ONCE + 1)
    for number in range(SIGNED_AT_ONCE):
        assert wanted.take(number).url == f"s3://lab/{number}?1"
    assert len(lender.batches) == 2
    for number in range(SIGNED_AT_ONCE, 2 * SIGNED_AT_ONCE + 1):
        wanted.take(number)
    assert [len(batch) for batch in lender.batches] == [SIGNED_AT_ONCE, SIGNED_AT_ONCE, 1]


def test_another_try_gets_another_signature_and_no_other_batch() -> None:
    lender = Signing()
    wanted = signatures(lender, SIGNED_AT_ONCE)
    assert [wanted.take(3).url, wanted.take(3).url] == ["s3://lab/3?1", "s3://lab/3?2"]
    assert lender.batches[1] == ["s3://lab/3"]


def test_old_signatures_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    lender = Signing()
    wanted = signatures(lender, 2)
    wanted.take(0)
    later = time.monotonic() + FRESH_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert wanted.take(1).url == "s3://lab/1?2"


def test_a_file_that_nothing_is_lent_for_stops_no_other() -> None:
    lender = SigningAhead(Signing("s3://lab/bad"), ["s3://lab/good", "s3://lab/bad"])
    assert lender.sign([Ask("put", "s3://lab/good")])[0].url.startswith("s3://lab/good?")
    with pytest.raises(StagingError, match="s3://lab/bad: not lent"):
        lender.sign([Ask("put", "s3://lab/bad")])


def test_puts_and_what_asks_for_their_sizes_are_signed_ahead() -> None:
    signing = Signing()
    lender = SigningAhead(signing, ["s3://lab/a", "s3://lab/b"])
    for url in ("s3://lab/a", "s3://lab/b"):
        for operation in ("put", "head", "create_upload"):
            lender.sign([Ask(operation, url)])
    both = ["s3://lab/a", "s3://lab/b"]
    assert signing.batches == [both, both, ["s3://lab/a"], ["s3://lab/b"]]


def test_no_size_is_asked_for_beforehand() -> None:
    signing = Signing()
    lender = SigningAhead(signing, ["s3://lab/a"])
    lender.sign([Ask("put", "s3://lab/a")])
    assert signing.batches == [["s3://lab/a"]]
