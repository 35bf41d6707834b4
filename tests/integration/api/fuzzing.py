"""How long made-up requests are sent: some from one seed, or, by `make fuzz`, for TESP_FUZZ_S seconds in all.

What fails names its seed: with that as TESP_FUZZ_SEED the same requests are sent again.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

FUZZ_S = float(os.environ.get("TESP_FUZZ_S", "0"))
SEED = int(os.environ.get("TESP_FUZZ_SEED", "1"))
EXAMPLES = int(os.environ.get("TESP_FUZZ_EXAMPLES", "15"))

_ROUND_EXAMPLES = 50

ANSWERS: Counter[tuple[str, int]] = Counter()
"""How many answers of each status there were, by what was asked."""


def ask_on(ask: Callable[[], Any], share: float) -> None:
    """Call a test of hypothesis with one seed, or with one after the other for `share` of the whole time."""
    end = time.monotonic() + FUZZ_S * share
    patient = settings(
        max_examples=_ROUND_EXAMPLES if FUZZ_S else EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(ask)
    number = SEED
    while True:
        print(f"TESP_FUZZ_SEED={number}")
        seed(number)(patient)()
        number += 1
        if time.monotonic() >= end:
            return


def note(what: str, status: int) -> None:
    """Count an answer; none may say that something went wrong in the server."""
    ANSWERS[what, status] += 1
    assert status < 500, f"{what} was answered {status}"


def summary() -> list[str]:
    """A line for each thing that was asked, with its answers by status."""
    lines = []
    for asked in sorted({what for what, _ in ANSWERS}):
        counts = {status: count for (what, status), count in ANSWERS.items() if what == asked}
        told = ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
        lines.append(f"{asked}: {sum(counts.values()):,} answers ({told})")
    return lines
