"""What the expander does to itself before it reads anything: give up being root, and close its doors."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Mapping
from typing import Any

_NOT_DUMPABLE = (4, 0)
"""prctl's PR_SET_DUMPABLE: no other process of this user may look into this one."""


def confine(options: Mapping[str, Any]) -> int:
    """Become the user that `options` names, if any; returns the channel, which no child inherits.

    The channel comes as standard input.
    """
    channel = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    user = options.get("user")
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if (most := options.get("processes_max")) is not None:  # of a user, or a namespace, that is its own
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    ctypes.CDLL(None).prctl(*_NOT_DUMPABLE, 0, 0, 0)
    return channel
