"""The line in which passwords wait for argon2, which is slow on purpose: first come, first served.

A login under a name that nobody has waits in it too, so that its answer takes as long, but lets the next one
go on at once: strangers' names cost no user's time. As long as few of them come, each has a real check made
for it, so that a quiet server is as busy with a name that there is not as with one that there is.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tesp_api.errors import AuthenticationBusy

_THREADS_OF_ONE = 4
"""Lanes of one check, each a thread. Source: RFC 9106, section 4, the second recommended option."""
_AT_ONCE_MAX = 4
"""Each takes 64 MiB."""
_WAITING_MAX = 1000
_REST = 2
"""After a check for a name that nobody has comes a rest of so many times what it took."""


def checks_at_once() -> int:
    """As many as keep all cores busy, which are those that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // _THREADS_OF_ONE, _AT_ONCE_MAX))


class PasswordLine:
    """Makes checks in threads. All methods belong to one event loop."""

    def __init__(self, check: Callable[[str, str], bool]) -> None:
        at_once = checks_at_once()
        self._check = check
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="argon2")
        self._turn = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._typical_s = 0.1
        self._rests_until = 0.0
        self._fault: AuthenticationBusy | None = None

    async def check(self, stored: str, password: str) -> bool:
        """Whether the hash is one of the password.

        Raises:
            AuthenticationBusy: too many wait, or it cannot be made.
        """
        self._require_room()
        self._waiting += 1
        try:
            async with self._turn:
                return await self._run(stored, password)
        finally:
            self._waiting -= 1

    async def pretend(self, password: str) -> None:
        """Take as long as `check` would.

        Raises:
            AuthenticationBusy: too many wait, or the last check could not be made, as the next one could not.
        """
        self._require_room()
        async with self._turn:
            if time.monotonic() >= self._rests_until:
                await self._check_for_nobody(password)
                return
        await asyncio.sleep(self._typical_s)
        if self._fault:
            raise AuthenticationBusy(str(self._fault))

    def _require_room(self) -> None:
        if self._waiting >= _WAITING_MAX:
            raise AuthenticationBusy("too many passwords are being checked")

    async def _check_for_nobody(self, password: str) -> None:
        began_at, self._rests_until = time.monotonic(), float("inf")
        try:
            await self._run("", password)
        finally:
            ended_at = time.monotonic()
            self._rests_until = ended_at + _REST * (ended_at - began_at)

    async def _run(self, stored: str, password: str) -> bool:
        began_at, loop = time.monotonic(), asyncio.get_running_loop()
        try:
            right = await loop.run_in_executor(self._threads, self._check, stored, password)
        except AuthenticationBusy as error:
            self._fault = error
            raise
        except RuntimeError as error:  # no thread can be started
            self._fault = AuthenticationBusy(f"passwords cannot be checked now: {error}")
            raise self._fault from error
        self._fault = None
        self._typical_s += (time.monotonic() - began_at - self._typical_s) / 8
        return right
