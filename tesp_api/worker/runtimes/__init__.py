"""Runtimes: the programs that run containers, and the choice among them.

To add one, write a class that fulfils `base.Runtime` and name it in `RUNTIMES`.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import SystemFailure, Unusable
from ..order import Site
from .base import Runtime

RUNTIMES = {
    "docker": "docker:Docker",
    "podman": "podman:Podman",
    "apptainer": "apptainer:Apptainer",
    "singularity": "apptainer:Singularity",
    "bubblewrap": "bubblewrap:Bubblewrap",
}


def choose_runtime(site: Site, scratch: str) -> Runtime:
    """The first runtime in the site's order that works; `scratch` is a private folder for it.

    Raises: SystemFailure naming each one tried and why it does not work.
    """
    reasons = []
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
    raise SystemFailure(
        "No container runtime works on this machine ("
        + "; ".join(reasons or ["none is configured"])
        + "). Install or start one there, or change the destination's `runtimes`"
    )
