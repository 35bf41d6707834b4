"""Signed requests for many files or parts, asked for many at a time."""

from __future__ import annotations

import threading
import time
from typing import Callable, Iterable, Sequence

from ..errors import StagingError
from .lending import Ask, Form, Lender, Listed, Login, Signed

SIGNED_AT_ONCE = 200
FRESH_S = 600.0


class Signatures:
    """The requests `ask(0)` to `ask(count - 1)`, taken more or less in this order. For several threads.

    Whoever takes one in the middle of a batch asks for the next batch, so that others need not wait for it.
    """

    def __init__(self, count: int, ask: Callable[[int], Ask], lender: Lender) -> None:
        self._count, self._ask, self._lender = count, ask, lender
        self._ready: dict[int, tuple[Signed, float]] = {}
        self._end = 0
        self._asking = threading.Lock()

    def take(self, number: int) -> Signed:
        """One that is ready; each is given once, and signed anew for whoever asks again.

        Raises: StagingError.
        """
        signed, stale_at = self._ready.pop(number, (None, 0.0))
        if signed is None or time.monotonic() >= stale_at:
            self._sign(number)
            return self._ready.pop(number)[0]
        if number == self._end - SIGNED_AT_ONCE // 2:
            self._sign(self._end)
        return signed

    def _sign(self, number: int) -> None:
        with self._asking:
            if number in self._ready or number >= self._count:
                return
            is_new = number >= self._end
            numbers = range(number, min(number + SIGNED_AT_ONCE, self._count) if is_new else number + 1)
            try:
                signed = self._lender.sign([self._ask(one) for one in numbers])
            except StagingError:  # perhaps only because of the others
                numbers = range(number, number + 1)
                signed = self._lender.sign([self._ask(number)])
            stale_at = time.monotonic() + FRESH_S
            self._ready.update((one, (it, stale_at)) for one, it in zip(numbers, signed))  # noqa: B905
            self._end = max(self._end, numbers.stop)


class SigningAhead:
    """Lends what another lender does; signatures for PUTs and HEADs of these URLs it gets many at a time."""

    def __init__(self, lender: Lender, urls: Iterable[str]) -> None:
        self._lender = lender
        self._numbers = {url: number for number, url in enumerate(dict.fromkeys(urls))}
        self._urls = list(self._numbers)
        self._ahead = {operation: self._all_of(operation) for operation in ("put", "head")}

    def _all_of(self, operation: str) -> Signatures:
        return Signatures(len(self._urls), lambda number: Ask(operation, self._urls[number]), self._lender)

    def login_for(self, url: str) -> Login | None:
        return self._lender.login_for(url)

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        if len(asks) == 1 and asks[0].operation in self._ahead and asks[0].url in self._numbers:
            return [self._ahead[asks[0].operation].take(self._numbers[asks[0].url])]
        return self._lender.sign(asks)

    def listing_of(self, url: str) -> list[Listed] | None:
        return self._lender.listing_of(url)

    def form_for(self, url: str) -> Form | None:
        return self._lender.form_for(url)
