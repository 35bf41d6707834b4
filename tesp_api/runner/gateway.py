"""The gateway: this server moves a task's files itself, for a site whose nodes have no network.

Inputs are fetched into the spool and placed into the job before it is launched; outputs are fetched out of
the job when its worker has ended, and sent to their URLs. All of it may be repeated after any failure.
The worker's side is described in `tesp_api.worker` and done in its `gateway.py`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tesp_api.errors import PulsarUnavailable, StoreUnavailable
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.runner.attempt_log import AttemptLog, Ending
from tesp_api.runner.fencing import Fence
from tesp_api.runner.gateway_events import GatewayEvents
from tesp_api.runner.spool import Allowance, Spool
from tesp_api.settings import DestinationSettings, Settings
from tesp_api.storage.stoppable import Stop, StoppableGuard, in_thread
from tesp_api.storage.url_rules import worker_rules
from tesp_api.store.base import Changes, Claim, Task, TaskStore
from tesp_api.tes.states import State
from tesp_api.worker.errors import StagingError
from tesp_api.worker.order import Patience
from tesp_api.worker.progress import Tally
from tesp_api.worker.record import MESSAGE_MAX_CHARACTERS, MOST_MESSAGES
from tesp_api.worker.transfer import Site, close_connections
from tesp_api.worker.transfer.lending import Lender, NoLender
from tesp_api.worker.urls import scheme_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")

MOST_THREADS = 16
"""Transfers of all tasks at one time; those that were left behind do not count."""

_PAUSES_S = (0.2, 1.0, 3.0)
"""A Pulsar that is away for a moment is asked again before all of a job's transfers are begun anew."""

_log = logging.getLogger(__name__)


def lend_nothing(_: Task) -> Lender:
    """For tasks whose URLs need no secrets."""
    return NoLender()


class Gateway:
    """One per process. `lend` gives what a task's transfers may borrow."""

    def __init__(self, settings: Settings, lend: Callable[[Task], Lender] = lend_nothing) -> None:
        self.settings = settings
        self.spool = Spool(settings.data_dir / "gateway")
        self.lend = lend
        self.threads = asyncio.Semaphore(MOST_THREADS)

    async def open(self) -> None:
        """Remove what an earlier process has left in the spool, which is ours alone."""
        if self.settings.has_gateway:
            await asyncio.to_thread(self.spool.sweep)

    def serves(self, destination: str) -> bool:
        """Whether this server moves the files of the tasks that go there."""
        site = self.settings.destinations.get(destination)
        return site is not None and site.staging == "gateway"


@dataclass(slots=True)
class Passage:
    """What `GatewayInputs` or `GatewayOutputs` needs: one attempt on its way through the gateway; used once.

    `wake` is the bell of the task's driver: it rings when a cancel may have come.
    """

    gateway: Gateway
    task: Task
    claim: Claim
    job_id: str
    transport: PulsarTransport
    store: TaskStore
    wake: asyncio.Event
    log: AttemptLog
    stop: Stop = field(init=False, default_factory=Stop)
    messages: list[str] = field(init=False, default_factory=list)
    fence: Fence = field(init=False)

    def __post_init__(self) -> None:
        self.fence = Fence(self.store, self.claim, self.gateway.settings.scheduler.lease_s)

    @property
    def spool(self) -> Spool:
        return self.gateway.spool

    @property
    def events(self) -> GatewayEvents:
        """Tells how far the transfers are."""
        return GatewayEvents(self.store, self.claim, self.task.attempt)

    @property
    def at_once(self) -> int:
        """How many of the task's files are on their way at one time."""
        return self.gateway.settings.transfers.at_once

    @property
    def _site(self) -> DestinationSettings:
        return self.gateway.settings.destinations[self.transport.name]

    def allowance(self, what: str) -> Allowance:
        """A new count of the bytes that pass in one direction."""
        setting = f"destinations.{self.transport.name}.gateway_max_bytes"
        return Allowance(what, self._site.gateway_max_bytes, setting, self.spool.folder)

    def transfers(self, allowance: Allowance) -> Site:
        """What the transfer code gets of this server: none of its files, and everything that limits it."""
        rules = self.gateway.settings.transfers
        guard = StoppableGuard(**worker_rules(self.gateway.settings)._asdict())
        guard.stop = self.stop
        return Site(
            roots=(),
            cancellation=self.stop,
            message=self._note,
            patience=Patience(**{name: getattr(rules, name) for name in Patience._fields}),
            lender=self.gateway.lend(self.task),
            guarding=lambda: guard,
            check_size=allowance.check_size,
            progress=Tally(),
        )

    def _note(self, text: str) -> None:
        if len(self.messages) < MOST_MESSAGES:
            self.messages.append(text[:MESSAGE_MAX_CHARACTERS])

    async def tell(self, reason: str, log: AttemptLog | None = None) -> None:
        """Add a line to the task's history, and what the attempt's log is by now."""
        changes = Changes(log=log.as_json() if log else None)
        await self.store.update(self.task.id, changes, claim=self.claim, reason=reason)

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Make a call of the transfer code, when there is a thread for it."""
        async with self.gateway.threads:
            return await in_thread(call)

    async def insist(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Ask Pulsar, a few times if it is away.

        Raises:
            PulsarUnavailable: it stays away.
        """
        for pause_s in _PAUSES_S:
            try:
                return await ask()
            except PulsarUnavailable as error:
                _log.warning("the gateway asks again for job %s: %s", self.job_id, error)
                await asyncio.sleep(pause_s)
        return await ask()

    @asynccontextmanager
    async def spooled(self) -> "AsyncIterator[Path]":
        """The job's folder in the spool, which goes with everything in it."""
        try:
            yield await asyncio.to_thread(self.spool.make, self.job_id)
        finally:
            await asyncio.to_thread(self.spool.remove, self.job_id)
            close_connections()

    async def until_canceled(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work; None as soon as the task is being canceled, with everything left behind.

        Raises: what the work raises.
        """
        working = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(self._cancel_asked())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            watching.result()
            return None
        finally:
            self.stop.ask()
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)
            self.wake.set()  # whoever waits next looks for himself whether a cancel has come

    async def _cancel_asked(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                if await self.store.get_state(self.task.id) is State.CANCELING:
                    return
            except StoreUnavailable:
                await asyncio.sleep(1.0)
                self.wake.set()


def failed(error: StagingError) -> Ending:
    """How an attempt ends whose files could not be moved."""
    return Ending(State.SYSTEM_ERROR, str(error), error.cause, may_have_run=False)


def is_remote(item: Mapping[str, Any]) -> bool:
    """Whether an input or output of a task is the gateway's business; files of the site are not."""
    return item.get("content") is None and scheme_of(item.get("url", "")) not in ("", "file")
