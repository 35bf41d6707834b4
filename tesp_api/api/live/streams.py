"""Streams as their readers get them: from place to place, with signs of life, as long as they may read."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from tesp_api.api.auth.identity import Identity
from tesp_api.api.live.crowd import Source, Write
from tesp_api.api.live.feed import Feed, FeedPlace, audience_of
from tesp_api.api.live.frames import KEEP_ALIVE, RETRY, Step
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

    def __init__(
        self, may_read: Callable[[], Awaitable[Identity]], hub: LiveHub, write: Write | None = None
    ) -> None:
        self._may_read = may_read
        self._hub = hub
        self.write = write
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

    def left_s(self) -> float:
        """How long they may be told by others, and need not look to anything themselves."""
        return min(self.wait_s, max(0.0, self._due_at - time.monotonic()))

    @property
    def wait_s(self) -> float:
        """How long to wait for news."""
        return max(0.0, self._heard_at + KEEP_ALIVE_S - time.monotonic())


async def follow(
    topic: Topic,
    place: P,
    source: Callable[[], Source],
    reader: Reader,
    *,
    keep_alive: bytes = KEEP_ALIVE,
) -> AsyncIterator[bytes]:
    """All that comes after a place, until the stream is over, or the reader has to leave.

    What is read for a source's name and a place is the same for all readers. Who is up to date is told by the
    topic of what comes, and none of that is given here.
    """
    while True:
        seen = topic.generation
        name, after = source()
        try:
            step = await topic.share((name, place), lambda after=after, at=place: after(at))  # type: ignore[misc]
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
        if reader.write is None:
            await topic.wait(seen, reader.wait_s)
        else:
            look = (name, after)
            place = await topic.stand(seen, look, place, reader.write, reader.was_told, reader.left_s)
        if not reader.wait_s:
            if keep_alive:
                yield keep_alive
            reader.was_told()


async def follow_everything(
    hub: LiveHub, store: TaskStore, who: Identity, reader: Reader
) -> AsyncIterator[bytes]:
    """What changes among all tasks that the reader sees."""
    with hub.follow(EVERYTHING, lambda: Feed(store, lambda wait_s: hub.ring_in(EVERYTHING, wait_s))) as topic:
        feed: Feed = topic.view
        yield RETRY
        await _look(topic, feed)

        def source() -> Source:
            reads = reader.who or who
            return audience_of(reads), lambda place: _after(topic, feed, place, reads)

        async for piece in follow(topic, FeedPlace(feed.end), source, reader):
            yield piece


async def _after(topic: Topic, feed: Feed, place: FeedPlace, who: Identity) -> Step[FeedPlace]:
    await _look(topic, feed)
    return await feed.step(place, who)


async def _look(topic: Topic, feed: Feed) -> None:
    try:
        await topic.share("look", feed.look)
    except StoreUnavailable:
        return
