"""Delivers what is in the outbox: each notice until its receiver takes it, or it is given up.

Receivers do not wait for each other. One that fails gets a pause that grows, for all that waits for it, and
then one try at a time, until one succeeds. Several servers may do this upon one store, each by itself;
a notice is tried by one of them at a time.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tesp_api.bell import Bell
from tesp_api.errors import StoreUnavailable
from tesp_api.settings import Settings
from tesp_api.store.outbox import Bounds, Delivery, Notice, Outbox, Outcome
from tesp_api.tes.times import now
from tesp_api.webhooks.answer import Answer
from tesp_api.webhooks.messages import body_of, message, signed_headers
from tesp_api.webhooks.targets import Target, Targets, Unknown
from tesp_api.webhooks.watches import About, is_own, owner_of, shown_receiver

if TYPE_CHECKING:
    from tesp_api.webhooks.sender import Sender

KEPT_S = 86_400.0
"""So long one can see what became of a notice."""

_RECEIVER_AT_ONCE = 4
_OWNER_AT_ONCE = 16
_OWN_AT_ONCE = 128
_LEASE_BEYOND_S = 30.0
_LOOK_WAITING_S, _LOOK_IDLE_S = 1.0, 5.0
_SWEEP_WAITING_S, _SWEEP_IDLE_S = 10.0, 600.0
_STOP_S = 2.0
_NAMES_A_SECOND = 10_000
"""So many receivers are looked at: users may name very many."""
_BETWEEN_PAUSES = 100

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Line:
    """The way to one receiver, as this process knows it."""

    running: int = 0
    failures: int = 0
    paused_until: float = 0.0
    said: str = ""


@dataclass(slots=True)
class Deliveries:
    """One per process. `start` and `stop` belong to the same event loop.

    `bell` rings when something may have come into the outbox. `told` is called with the outcome of each try.
    """

    outbox: Outbox
    bell: Bell
    settings: Settings
    told: Callable[[str], None] = lambda _: None
    lines: dict[str, Line] = field(default_factory=dict)
    _sender: "Sender | None" = field(init=False, default=None)
    _making: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _targets: Targets = field(init=False)
    _rung: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _tries: set["asyncio.Task[None]"] = field(init=False, default_factory=set)
    _own: Counter[str] = field(init=False, default_factory=Counter)
    _loop: "asyncio.Task[None] | None" = field(init=False, default=None)
    _sweep_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._targets = Targets(self.settings)

    async def start(self) -> None:
        """Begin to deliver; returns at once."""
        self._sweep_at = time.monotonic() + _SWEEP_IDLE_S  # what waited while no server ran is tried before
        self.bell.listen(lambda _: self._rung.set())
        self._loop = asyncio.create_task(self._deliver_for_ever(), name="deliver webhooks")

    async def stop(self) -> None:
        """Deliver no more. What is on its way gets a moment; the rest is tried again by the next server."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._tries:
            await asyncio.wait(self._tries, timeout=_STOP_S)
        for one in list(self._tries):
            one.cancel()
        await asyncio.gather(*self._tries, return_exceptions=True)
        if self._sender is not None:
            await self._sender.aclose()
            self._sender = None

    async def send_test(self, name: str) -> Answer:
        """Send a message of type `webhook.test` to a receiver of the settings, once.

        Raises:
            Unknown: they have none of that name.
        """
        target = self._targets.named(name)
        body = message("webhook.test", now(), {"receiver": name})
        return await self._send(target, f"test.{secrets.token_hex(8)}", body)

    async def waiting(self) -> Mapping[str, int]:
        """How many notices wait, by receiver."""
        return await self.outbox.waiting()

    async def of(self, subject: str) -> Sequence[Delivery]:
        """What became of the notices about a task or run."""
        return await self.outbox.deliveries(subject)

    async def _deliver_for_ever(self) -> None:
        is_away = False
        while True:
            self._rung.clear()
            wait_s, pause_s = _LOOK_WAITING_S, 0.0
            try:
                waiting = await self._look()
                pause_s = min(_LOOK_WAITING_S, waiting / _NAMES_A_SECOND)
                if not waiting:
                    wait_s = _LOOK_IDLE_S
                is_away = False
            except StoreUnavailable as error:
                if not is_away:
                    _log.warning("webhooks wait for the store: %s", error)
                is_away = True
            except Exception:
                _log.exception("webhooks could not be looked after")
            await asyncio.sleep(pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), wait_s)

    async def _look(self) -> int:
        """Begin all tries that may begin now; for how many receivers anything waits."""
        names = set(await self.outbox.receivers())
        for number, name in enumerate(names):
            if number % _BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            line = self.lines.setdefault(name, Line())
            if (room := self._room(name, line)) > 0:
                lease_s = self.settings.webhooks.timeout_s + _LEASE_BEYOND_S
                for notice in await self.outbox.claim(name, limit=room, lease_s=lease_s):
                    self._begin(notice, line, owner_of(name) if is_own(name) else None)
        for name in [name for name, line in self.lines.items() if name not in names and not line.running]:
            del self.lines[name]
        await self._sweep(bool(names))
        return len(names)

    def _room(self, name: str, line: Line) -> int:
        """How many tries may begin."""
        if time.monotonic() < line.paused_until:
            return 0
        room = (1 if line.failures else _RECEIVER_AT_ONCE) - line.running
        if is_own(name):
            room = min(room, _OWNER_AT_ONCE - self._own[owner_of(name)], _OWN_AT_ONCE - self._own.total())
        return room

    def _begin(self, notice: Notice, line: Line, owner: str | None) -> None:
        line.running += 1
        if owner is not None:
            self._own[owner] += 1
        trying = asyncio.create_task(self._try(notice, line, owner), name=f"webhook {notice.event_id}")
        self._tries.add(trying)
        trying.add_done_callback(self._tries.discard)

    async def _try(self, notice: Notice, line: Line, owner: str | None) -> None:
        try:
            outcome = await self._outcome(notice, line)
            self.told(outcome.fate)
            await self.outbox.settle(notice, outcome)
        except StoreUnavailable as error:
            _log.warning("what became of webhook %s is not stored: %s", notice.event_id, error)
        except Exception:
            _log.exception("webhook %s could not be tried", notice.event_id)
        finally:
            line.running -= 1
            if owner is not None:
                self._own[owner] -= 1
                if not self._own[owner]:
                    del self._own[owner]
            self._rung.set()

    async def _outcome(self, notice: Notice, line: Line) -> Outcome:
        shown = shown_receiver(notice.receiver)
        about = About.from_json(notice.about)
        try:
            target = self._targets.of(notice, about)
        except Unknown as why:  # at another server, or after the next start, the settings may be others
            return self._failed(notice, line, str(why))
        body = body_of(notice, about, self.settings)
        answer = await self._send(target, notice.event_id, body)
        if answer.is_taken:
            if line.failures:
                _log.info("webhooks to %s are taken again", shown)
            line.failures, line.paused_until, line.said = 0, 0.0, answer.said
            return Outcome("delivered", answer.said)
        if answer.is_gone:
            _log.warning("webhook %s to %s is given up: %s", notice.event_id, shown, answer.said)
            return Outcome("given_up", answer.said)
        return self._failed(notice, line, answer.said)

    def _failed(self, notice: Notice, line: Line, said: str) -> Outcome:
        line.failures += 1
        line.said = said
        line.paused_until = time.monotonic() + self._pause_s(line.failures)
        if line.failures == 1:
            shown = shown_receiver(notice.receiver)
            _log.warning("webhook to %s failed, and is tried again: %s", shown, said)
        return Outcome("waiting", said, self._pause_s(notice.tries))

    async def _send(self, target: Target, message_id: str, body: bytes) -> Answer:
        headers = signed_headers(message_id, now(), body, target.secret)
        sender = self._sender or await self._opened_sender()
        return await sender.send(target.url, headers, body, is_guarded=target.is_guarded)

    async def _opened_sender(self) -> "Sender":
        async with self._making:
            if self._sender is None:
                made = await asyncio.to_thread(self._make_sender)
                await made.open()
                self._sender = made
            return self._sender

    def _make_sender(self) -> "Sender":
        from tesp_api.webhooks.sender import Sender  # aiohttp: not for servers that send nothing

        return Sender(self.settings)

    def _pause_s(self, failures: int) -> float:
        """Longer with each failure; of several that failed together each one somewhat different."""
        webhooks = self.settings.webhooks
        pause_s: float = min(webhooks.pause_max_s, webhooks.pause_s * 2.0 ** min(failures - 1, 60))
        return pause_s * random.uniform(0.75, 1.25)  # noqa: S311 - nothing secret

    async def _sweep(self, anything_waits: bool) -> None:
        if time.monotonic() < self._sweep_at:
            return
        webhooks = self.settings.webhooks
        bounds = Bounds(webhooks.give_up_s, webhooks.waiting_max, KEPT_S)
        if given_up := await self.outbox.sweep(bounds):
            _log.warning("%d webhooks were given up: they waited too long, or were too many", given_up)
        self._sweep_at = time.monotonic() + (_SWEEP_WAITING_S if anything_waits else _SWEEP_IDLE_S)
