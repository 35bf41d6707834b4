"""The hub: one place in the process that wakes whoever follows a task, a run, or all of them.

Who writes to the store in this process rings (`TaskStore.news`). Where other servers write too, what is
followed is looked at now and then, the more seldom the more is followed. Followers of one thing are woken
together, and those who stand at the same place share one read: what a thousand of them cost is the sending.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Any, TypeVar, cast

from tesp_api.api.draining import Drain
from tesp_api.api.live.crowd import Bystander, Crowd, Source, Write
from tesp_api.api.live.frames import Step
from tesp_api.bell import Bell
from tesp_api.errors import TespError

_log = logging.getLogger(__name__)

LOOK_ALONE_S = 15.0
"""Where this server alone writes, every write rings; this is for the case that a ring got lost."""
LOOK_BESIDE_OTHERS_S = 0.5
"""Where other servers write, too."""

_LOOKS_PER_S = 100
"""At the store, at the things that are followed, where nobody rings."""
_WAKES_PER_S = 1500
"""Of all followers together: one that has news to send takes about a tenth of a millisecond."""
_WAKE_MIN_S, _WAKE_MAX_S = 0.05, 0.7
_TICK_S = 0.2

EVERYTHING = ""
"""What is followed by who follows all tasks."""

T = TypeVar("T")


class Topic:
    """Something that is followed. `generation` grows with its news; `view` is what its streams share."""

    def __init__(self, view: Any, is_closing: Callable[[], bool]) -> None:
        self.view = view
        self._is_closing = is_closing
        self._crowd = Crowd()
        self._telling: asyncio.Task[None] | None = None
        self._is_untold = False
        self.generation = 0
        self.followers = 0
        self.woken_at = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._shared: dict[Hashable, asyncio.Future[Any]] = {}

    async def share(self, place: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives for a place; until there is news, it is read once for all who ask."""
        found = self._shared.get(place)
        if found is None:
            found = self._shared[place] = asyncio.ensure_future(read())
            found.add_done_callback(lambda done: self._forget(place, done))
        if found.done():  # as for nearly all who ask
            return cast(T, found.result())
        result: T = await asyncio.shield(found)  # one who goes away must not take it from the others
        return result

    def _forget(self, place: Hashable, done: "asyncio.Future[Any]") -> None:
        """What failed is tried again by the next who asks."""
        if (done.cancelled() or done.exception()) and self._shared.get(place) is done:
            del self._shared[place]

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Return once there is news that came after the generation `seen`, or the time is over."""
        if self.generation == seen:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()

    async def stand(
        self,
        seen: int,
        source: Source,
        place: Any,
        write: Write,
        was_told: Callable[[], None],
        left_s: Callable[[], float],
    ) -> Any:
        """Like `wait`, but be told of news meanwhile; returns the place up to which that was.

        It ends when no time is left, and when there is something that the reader must see to alone.
        """
        one = Bystander(place, write, was_told, asyncio.get_running_loop().create_future())
        self._crowd.add(source, one)
        if self.generation != seen:
            self._tell_soon()
        try:
            while not one.released.done() and (wait_s := left_s()) > 0:
                await asyncio.wait((one.released,), timeout=wait_s)
        finally:
            one.release()
        return one.place

    def _tell_soon(self) -> None:
        """Those who wait are told, once more if that is being done just now."""
        self._is_untold = True
        if self._crowd and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(
                self._tell_crowd(), name="tell followers", context=contextvars.Context()
            )

    async def _tell_crowd(self) -> None:
        while self._is_untold:
            self._is_untold = False
            await self._crowd.tell(self._read_for_crowd)

    async def _read_for_crowd(self, source: Source, place: Any) -> Step[Any] | None:
        name, after = source
        if self._is_closing():
            return None
        try:
            return await self.share((name, place), lambda: after(place))
        except TespError:  # whoever goes on alone sees it, too
            return None
        except Exception:
            _log.exception("what followers wait for could not be read for all of them")
            return None

    def wake(self) -> None:
        """There is news."""
        self.timer = None
        self.woken_at = time.monotonic()
        self.generation += 1
        self._shared = {}
        self._changed.set()
        self._changed = asyncio.Event()
        self._tell_soon()


class LiveHub:
    """All that is followed in this process. All methods belong to one event loop."""

    def __init__(self, news: Bell, drain: Drain, *, look_s: float) -> None:
        self._drain = drain
        self._look_s = look_s
        self._topics: dict[str, Topic] = {}
        self._also: dict[str, set[str]] = {}
        self._followers = 0
        self._ticking: asyncio.Task[None] | None = None
        news.listen(self.ring)

    @property
    def is_closing(self) -> bool:
        """Whether the server is being stopped, so that streams are to end."""
        return self._drain.is_on

    @contextlib.contextmanager
    def follow(self, key: str, view: Callable[[], Any]) -> Iterator[Topic]:
        """Follow something for the block; `view` makes what its followers share, if nobody follows it yet."""
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = Topic(view(), lambda: self.is_closing)
        topic.followers += 1
        self._followers += 1
        if self._ticking is None or self._ticking.done() or self._ticking.cancelling():
            self._ticking = asyncio.create_task(
                self._tick(), name="wake followers", context=contextvars.Context()
            )
        try:
            yield topic
        finally:
            topic.followers -= 1
            self._followers -= 1
            if not topic.followers:
                if topic.timer is not None:
                    topic.timer.cancel()
                del self._topics[key]
                self._also = {one: keys - {key} for one, keys in self._also.items() if keys != {key}}
            if not self._topics:
                self._ticking.cancel()

    def wakes_too(self, task_id: str, key: str) -> None:
        """From now on, news of the task is news of what is followed as `key`: a run has steps."""
        self._also.setdefault(task_id, set()).add(key)

    def ring(self, changed_id: str) -> None:
        """There is news of this task or run: wake who follows it, soon and not too often."""
        for key in (changed_id, EVERYTHING, *self._also.get(changed_id, ())):
            self._ring_key(key)

    def _ring_key(self, key: str) -> None:
        topic = self._topics.get(key)
        if topic is not None and topic.timer is None:
            every_s = min(_WAKE_MAX_S, max(_WAKE_MIN_S, self._followers / _WAKES_PER_S))
            pause_s = topic.woken_at + every_s - time.monotonic()
            topic.timer = asyncio.get_running_loop().call_later(max(0.0, pause_s), topic.wake)

    def ring_in(self, key: str, wait_s: float) -> None:
        """There will be news of what is followed as `key`, after some time."""
        asyncio.get_running_loop().call_later(wait_s, self._ring_key, key)

    async def _tick(self) -> None:
        while self._topics:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            every_s = max(self._look_s, len(self._topics) / _LOOKS_PER_S)
            for topic in list(self._topics.values()):
                is_due = topic.timer is None and now - topic.woken_at >= every_s
                if is_due or self.is_closing:
                    if topic.timer is not None:
                        topic.timer.cancel()
                    topic.wake()
