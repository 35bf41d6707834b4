"""When the interpreter looks for garbage that refers to itself.

Of its own it looks through everything each few seconds where thousands of tasks live, and nothing is answered
meanwhile: a second, with 10,000 of them.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

YOUNG, MIDDLE = 1_000, 2
"""As `gc.set_threshold` takes them: what was just made is looked through soon, a millisecond each time."""

NEVER = 1_000_000

LEAST_PAUSE_S = 60.0
SHARE = 0.001
"""The most of the time that looking through everything may take."""


_USUAL = gc.get_threshold()


@asynccontextmanager
async def seldom_collected() -> AsyncIterator[None]:
    """Have everything looked through once a minute, or as seldom as `SHARE` wants it, inside the block.

    It is for a process that has one server: of two, the first to leave ends it for both.
    """
    gc.set_threshold(YOUNG, MIDDLE, NEVER)
    collecting = asyncio.create_task(_collect_forever(), name="collect garbage")
    try:
        yield
    finally:
        gc.set_threshold(*_USUAL)
        collecting.cancel()
        with suppress(asyncio.CancelledError):
            await collecting


def pause_s(took_s: float) -> float:
    """How long not to look through everything after it has taken so long."""
    return max(LEAST_PAUSE_S, took_s / SHARE)


async def _collect_forever() -> None:
    took_s = 0.0
    while True:
        await asyncio.sleep(pause_s(took_s))
        began_at = time.monotonic()
        gc.collect()
        took_s = time.monotonic() - began_at
