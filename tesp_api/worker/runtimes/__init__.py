"""Runtimes: the programs that run containers, and the choice among them.

To add one, write a class that fulfils `base.Runtime` and name it in `RUNTIMES`.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Callable

from ..cancellation import Cancellation
from ..errors import DaemonAway, SystemFailure, Unusable
from ..order import Site
from .base import Runtime

RUNTIMES = {
    "docker": "docker:Docker",
    "podman": "podman:Podman",
    "apptainer": "apptainer:Apptainer",
    "singularity": "apptainer:Singularity",
    "bubblewrap": "bubblewrap:Bubblewrap",
}


PATIENCE_S, PAUSE_S = 60.0, 1.0


def choose_runtime(
    site: Site, scratch: str, cancellation: Cancellation, say: Callable[[str], None]
) -> Runtime:
    """The first runtime in the site's order that works; `scratch` is a private folder for it.

    Where none does, and the daemon of one is away, it is waited for, for `PATIENCE_S`; `say` tells of that.

    Raises:
        SystemFailure: names each one tried and why it does not work.
        Canceled: while it was waited for.
    """
    end, is_told = time.monotonic() + PATIENCE_S, False
    while True:
        try:
            return _first_that_works(site, scratch)
        except DaemonAway as error:
            if time.monotonic() > end:
                raise
            if not is_told:
                say(f"{error}. Waiting for it, {PATIENCE_S:g} s at most")
                is_told = True
        cancellation.sleep(PAUSE_S)


def _first_that_works(site: Site, scratch: str) -> Runtime:
    """Raises: DaemonAway, or another SystemFailure, which name each one tried."""
    reasons, failure = [], SystemFailure
    for name in site.runtimes:
        if name not in RUNTIMES:
            reasons.append(f"{name}: unknown")
            continue
        module, _, kind = RUNTIMES[name].partition(":")
        try:
            runtime: Runtime = getattr(import_module(f"{__name__}.{module}"), kind)(
                site.runtime_args.get(name, ()), scratch
            )
            return runtime
        except Unusable as error:
            reasons.append(f"{name}: {error}")
            failure = DaemonAway if isinstance(error, DaemonAway) else failure
    raise failure(
        "No container runtime works on this machine ("
        + "; ".join(reasons or ["none is configured"])
        + "). Install or start one there, or change the destination's `runtimes`"
    )
