"""Garbage that refers to itself goes, but looking for it takes next to no time."""

import asyncio
import gc
import weakref

import pytest

from tesp_api import garbage


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.self = self


async def test_old_garbage_goes_and_all_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "LEAST_PAUSE_S", 0.01)
    monkeypatch.setattr(garbage, "SHARE", 1.0)
    before = gc.get_threshold()
    async with garbage.seldom_collected():
        knot = Knot()
        gone = weakref.ref(knot)
        gc.collect()  # from now on it is old: only looking through everything finds it
        del knot
        async with asyncio.timeout(10):
            while gone() is not None:  # noqa: ASYNC110 - the collector tells nobody
                await asyncio.sleep(0.01)
    assert gc.get_threshold() == before


async def test_everything_is_not_looked_through_at_once() -> None:
    async with garbage.seldom_collected():
        passes = gc.get_stats()[2]["collections"]
        kept = [[number] for number in range(200_000)]
        assert gc.get_stats()[2]["collections"] == passes
        assert len(kept) == 200_000


@pytest.mark.parametrize(("took_s", "expected_s"), [(0.0, 60.0), (0.05, 60.0), (0.9, 900.0)])
def test_the_more_it_takes_the_more_seldom_it_is_done(took_s: float, expected_s: float) -> None:
    assert garbage.pause_s(took_s) == pytest.approx(expected_s)
