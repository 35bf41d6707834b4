"""Costly lists run by turns: a few of one user at a time, and not many more of all.

So one user's lists leave others the store's readers and the processor. Costly is what reads whole tasks, or
looks for several things together, of which a store has no index: such a list may look at ten thousand tasks.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator

from tesp_api.api.auth.identity import Identity
from tesp_api.api.limits.allowances import Allowances
from tesp_api.errors import LimitReached
from tesp_api.settings_limits import LimitSettings
from tesp_api.store.base import TaskQuery
from tesp_api.tes.tasks import View

PATIENCE_S = 30.0
WAITING_MAX = 100
"""Of one user's."""

_SHOWN_PER_REQUEST = {View.MINIMAL: 1000, View.BASIC: 50, View.FULL: 20}
_ADVICE = "ask for lists one after the other, for smaller pages, or in the view MINIMAL"


def is_costly(query: TaskQuery, view: View) -> bool:
    """Whether the list waits for its turn."""
    return view is not View.MINIMAL or bool(query.name_prefix) + len(query.tags) > 1


def requests_in(shown: int, view: View) -> float:
    """As how many more requests a list counts that has shown so many tasks."""
    return shown / _SHOWN_PER_REQUEST[view]


class ListTurns:
    """Lets costly lists in. All methods belong to one event loop."""

    def __init__(self, limits: LimitSettings) -> None:
        self._allowances = Allowances(limits)
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[Identity, asyncio.Future[None]]]] = {}
        self._typical_s = 0.1

    @contextlib.asynccontextmanager
    async def turn(self, who: Identity) -> AsyncIterator[None]:
        """Wait for the turn, and have it for the block.

        Raises:
            LimitReached: too many of theirs wait, or it took too long.
        """
        if self._waiting.get(who.owner) or not self._may_run(who):
            await self._wait(who)
        else:
            self._running[who.owner] += 1
        began_at = time.monotonic()
        try:
            yield
        finally:
            self._typical_s += (time.monotonic() - began_at - self._typical_s) / 8
            self._end(who.owner)

    def _may_run(self, who: Identity) -> bool:
        own = self._allowances.of_user(who)
        if own is not None and self._running[who.owner] >= own.table.lists_at_once:
            return False
        return self._running.total() < self._allowances.all.table.lists_at_once

    async def _wait(self, who: Identity) -> None:
        line = self._waiting.setdefault(who.owner, deque())
        if len(line) >= WAITING_MAX:
            raise self._refusal(who, len(line))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append((who, turn))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came in the very moment
                self._end(who.owner)
            elif (who, turn) in line:  # else it was passed over in that moment
                line.remove((who, turn))
                self._forget(who.owner)
            if isinstance(error, TimeoutError):
                raise self._refusal(who, len(line)) from None
            raise

    def _end(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        while (following := self._next()) is not None:
            _, turn = self._waiting[following].popleft()
            self._forget(following)
            if not turn.done():
                self._running[following] += 1
                turn.set_result(None)

    def _next(self) -> str | None:
        """Whose turn it is: of those who may run one more, who runs fewest; of equals, who came first."""
        able = [owner for owner, line in self._waiting.items() if self._may_run(line[0][0])]
        return min(able, key=lambda owner: self._running[owner], default=None)

    def _forget(self, owner: str) -> None:
        line = self._waiting.pop(owner)
        if line:  # at the end: others come before its next turn
            self._waiting[owner] = line

    def _refusal(self, who: Identity, waiting: int) -> LimitReached:
        named = self._allowances.of_user(who) or self._allowances.all
        most = named.table.lists_at_once
        return LimitReached(
            f"{named.name}.lists_at_once",
            most,
            self._running[who.owner],
            taken=f"of these run while {waiting} wait",
            retry_after_s=self._typical_s * waiting / most,
            advice=_ADVICE,
        )
