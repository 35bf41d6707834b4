"""Retries: which failures another try may mend, and how long to wait before it."""

from __future__ import annotations

import random
import socket
from typing import Callable, TypeVar

from ..errors import SourceChanged, StagingError, StorageAway
from ..urls import shown
from . import Site
from .logins import cleaned

MOST_TRIES = 100
PAUSE_MAX_S = 30.0
ASKED_PAUSE_MAX_S = 60.0

Answer = TypeVar("Answer")


class Passing(Exception):
    """A failure that another try may mend; the server asks to wait for `pause_s`."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = min(pause_s, ASKED_PAUSE_MAX_S)


class Refused(Exception):
    """A failure that no other try will mend."""


class Denied(Refused):
    """The server wants another login, or one at all."""


def try_often(
    attempt: Callable[[], Answer],
    url: str,
    site: Site,
    foreign: tuple[type[Exception], ...],
    furthest: Callable[[], int] = lambda: 0,
) -> Answer:
    """Call `attempt` until it succeeds or fails for good; `foreign` are the protocol's passing errors.

    Tries that bring the transfer further (by `furthest`, in bytes) than any before do not count, so
    that a large file comes through a bad line.

    Raises: StagingError with the URL, the number of tries and the server's answer; Canceled.
    """
    passing: tuple[type[Exception], ...] = (Passing, OSError, *foreign)
    reached, fruitless = 0, 0
    for tries in range(1, MOST_TRIES + 1):
        try:
            return attempt()
        except (Refused, SourceChanged) as error:
            raise _failure(url, error, tries, site) from error
        except passing as error:
            if furthest() > reached:
                reached, fruitless = furthest(), 0
            fruitless += 1
            # A certificate that is not trusted now will not be in a second either.
            is_final = fruitless >= site.patience.tries or hasattr(error, "verify_message")
            if is_final or tries == MOST_TRIES:
                raise _failure(url, error, tries, site) from error
            pause_s = min(site.patience.pause_s * 2 ** (fruitless - 1), PAUSE_MAX_S)
            asked_s = error.pause_s if isinstance(error, Passing) else 0.0
        jitter = 0.5 + random.random()  # noqa: S311 - nothing secret
        site.cancellation.sleep(max(asked_s, pause_s * jitter))
    raise AssertionError("the last try returns or raises")


def _failure(url: str, error: Exception, tries: int, site: Site) -> StagingError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, socket.timeout):
        reason = f"nothing came or went for {site.patience.stall_s:g} s"
    times = "once" if tries == 1 else f"{tries} times"
    kind = StagingError if isinstance(error, Refused) or hasattr(error, "verify_message") else StorageAway
    return kind(f"{shown(url)}: {cleaned(reason, url, site)} (tried {times})")
