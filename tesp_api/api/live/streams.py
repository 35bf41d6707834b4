"""Streams as their readers get them: from place to place, with signs of life, as long as they may read."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from tesp_api.api.auth.identity import Identity
from tesp_api.api.live.feed import CountsTold, Feed
from tesp_api.api.live.frames import KEEP_ALIVE, RETRY, Step, frame
from tesp_api.api.live.hub import EVERYTHING, LiveHub, Topic
from tesp_api.errors import (
    NotAllowed,
    NotAuthenticated,
    RunNotFound,
    StoreUnavailable,
    TaskNotFound,
    TespError,
)
from tesp_api.store.base import TaskStore

KEEP_ALIVE_S = 15.0
RECHECK_S = 20.0
_STORE_AWAY_S = 1.0

_OVER = (NotAuthenticated, NotAllowed, TaskNotFound, RunNotFound)

P = TypeVar("P")


class Reader:
    """Who reads a stream: asked again, now and then, whether they still may."""

    def __init__(self, may_read: Callable[[], Awaitable[Identity]], hub: LiveHub) -> None:
        self._may_read = may_read
        self._hub = hub
        self._due_at = time.monotonic() + RECHECK_S
        self._heard_at = time.monotonic()
        self.who: Identity | None = None

    async def has_to_leave(self) -> bool:
        """Whether the stream is to end now: the server stops, or the login is no longer good for it."""
        if self._hub.is_closing:
            return True
        if time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + RECHECK_S
            try:
                self.who = await self._may_read()
            except _OVER:
                return True
            except TespError:  # it cannot be said now
                pass
        return False

    def was_told(self) -> None:
        """Something was sent just now."""
        self._heard_at = time.monotonic()

    @property
    def wait_s(self) -> float:
        """How long to wait for news."""
        return max(0.0, self._heard_at + KEEP_ALIVE_S - time.monotonic())


async def follow(
    topic: Topic,
    place: P,
    after: Callable[[P], Awaitable[Step[P]]],
    reader: Reader,
    shared_as: object,
    *,
    keep_alive: bytes = KEEP_ALIVE,
) -> AsyncIterator[bytes]:
    """All that comes after a place, until the stream is over, or the reader has to leave.

    What is read for `shared_as` and a place is the same for all readers.
    """
    while True:
        seen = topic.generation
        try:
            step = await topic.share((shared_as, place), lambda at=place: after(at))  # type: ignore[misc]
        except StoreUnavailable:
            await topic.wait(seen, _STORE_AWAY_S)
            step = Step(b"", place)
        except (TaskNotFound, RunNotFound):
            return
        if step.data:
            yield step.data
            reader.was_told()
        place = step.place
        if step.is_over or await reader.has_to_leave():
            return
        if step.has_more:
            continue
        await topic.wait(seen, reader.wait_s)
        if not reader.wait_s:
            if keep_alive:
                yield keep_alive
            reader.was_told()


async def follow_everything(
    hub: LiveHub, store: TaskStore, who: Identity, reader: Reader
) -> AsyncIterator[bytes]:
    """What changes among all tasks that the reader sees."""
    with hub.follow(EVERYTHING, lambda: Feed(store)) as topic:
        feed: Feed = topic.view
        yield RETRY
        counts = CountsTold()
        await _look(topic, feed)
        number = feed.end
        while True:
            seen = topic.generation
            await _look(topic, feed)
            who = reader.who or who
            data = feed.after(number, who)
            if feed.end > number:
                counts.spoil()
            number = feed.end
            if counts.wait_s == 0:
                data += counts.take(await _counts(topic, store, who))
            if data:
                yield data
                reader.was_told()
            if await reader.has_to_leave():
                return
            wait_s = counts.wait_s
            await topic.wait(seen, reader.wait_s if wait_s is None else min(wait_s, reader.wait_s))
            if topic.generation != seen:
                counts.spoil()  # what was deleted changes nothing but these
            if not reader.wait_s:
                yield KEEP_ALIVE
                reader.was_told()


async def _look(topic: Topic, feed: Feed) -> None:
    try:
        await topic.share("look", feed.look)
    except StoreUnavailable:
        return


async def _counts(topic: Topic, store: TaskStore, who: Identity) -> bytes:
    audience = (None, ()) if who.is_admin else (who.owner, tuple(sorted(who.groups)))

    async def read() -> bytes:
        return frame("counts", counts_shown(await store.counts(*audience)))

    try:
        return await topic.share(("counts", audience), read)
    except StoreUnavailable:
        return b""


def counts_shown(counts: Any) -> dict[str, dict[str, int]]:
    """Counts as clients see them."""
    return {"states": {str(state): count for state, count in sorted(counts.items())}}
