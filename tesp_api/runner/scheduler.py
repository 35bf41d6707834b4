"""Claims tasks from the store and keeps one driver running for each, until it is retired.

At its start it adopts every task that is still live; from then on it looks at the store when the bell
rings and every `scan_s`. Its claims are leases: a scheduler that dies loses its tasks to the next one.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tesp_api.bell import Bell
from tesp_api.context import TASK_ID, TRACE_ID
from tesp_api.errors import ClaimLost, PulsarError, PulsarUnavailable, StoreUnavailable, TaskNotFound
from tesp_api.metrics.tasks import TaskMetrics
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.runner.deadlines import Deadlines
from tesp_api.runner.destination_views import destination_views
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.health import Health
from tesp_api.runner.lending import Lender
from tesp_api.runner.others_cancels import ring_for_cancels
from tesp_api.runner.places import Place, Places, would_go_to, would_wait_for
from tesp_api.runner.retries import is_given_up, needs_place
from tesp_api.runner.routing import Routing, refusal_text
from tesp_api.runner.run_task import abandon_task, close_job, refuse_task, run_task
from tesp_api.runner.strays import Strays
from tesp_api.runner.surroundings import Surroundings
from tesp_api.runner.waiting import find_place, wait_for_attempt
from tesp_api.runner.waiting_room import room_of
from tesp_api.runner.worker_archive import worker_archive_for
from tesp_api.settings import Settings
from tesp_api.store.base import Task, TaskStore
from tesp_api.store.turns import Shares
from tesp_api.tes.states import FINAL, State
from tesp_api.tes.traceparent import trace_of

_log = logging.getLogger(__name__)

_RETRY_MIN_S, _RETRY_MAX_S = 0.1, 10.0
_BATCH = 32
"""So many tasks are claimed at once at least, while more may wait: their documents may be large."""
_BUG_TRIES = 5
"""So often is a task driven on after an error that nobody foresaw, before it ends SYSTEM_ERROR."""


@dataclass(slots=True)
class _Driven:
    """A task that this process drives: the place of its job, how long it may take, how to wake its driver.

    `is_over` says that the task has ended and only cleaning up is left, which may take for ever; `is_lost`,
    that another process drives it.
    """

    place: Place
    deadlines: Deadlines
    wake: asyncio.Event
    is_over: bool
    is_lost: bool = False
    driver: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class Scheduler:
    """One per process. `start` and `stop` belong to the same event loop."""

    store: TaskStore
    transports: Mapping[str, PulsarTransport]
    settings: Settings
    bell: Bell
    lender: Lender
    gateway: Gateway
    ended: Bell = field(default_factory=Bell)
    """Rung for every task that has ended."""
    metrics: TaskMetrics = field(default_factory=TaskMetrics)
    server: str = field(init=False, default="")
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
    routing: Routing = field(init=False)
    health: Health = field(init=False)
    _places: Places = field(init=False)
    _driven: dict[str, _Driven] = field(init=False, default_factory=dict)
    _look: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _may_be_more: bool = field(init=False, default=True)
    _loops: "list[asyncio.Task[None]]" = field(init=False, default_factory=list)
    _strays: Strays = field(init=False)

    def __post_init__(self) -> None:
        self.routing = Routing(self.settings)
        self.health = Health(self.transports, self._turned)
        self._strays = Strays(self.transports, self.store)
        overtakes_max = self.settings.scheduler.overtakes_max
        self._places = Places(
            self.settings.destinations, self.health.closed_destinations, overtakes_max=overtakes_max
        )

    async def start(self, server: str = "") -> None:
        """Begin to claim and drive tasks; returns at once, unless files of an earlier process lie about.

        `server` is the identity of the data folder that this process has locked, if others share the store.
        So earlier processes of that folder are dead, and their claims need not expire.
        """
        await self.gateway.open()
        if server:
            self.server, self.owner = server, f"{server}:{self.owner}"
            await self.store.release_server(server)
        self.bell.listen(self._rung)
        self._loops = [
            asyncio.create_task(self._claim_loop(), name="claim tasks"),
            asyncio.create_task(self._lease_loop(), name="renew leases"),
        ]
        if self.settings.store.kind == "mongodb":
            looks = ring_for_cancels(self.store, self.owner, self._rung)
            self._loops.append(asyncio.create_task(looks, name="look for cancels"))
        if server:
            self._strays.look_for_own(self.settings.scheduler.lease_s)

    async def stop(self) -> None:
        """Let go of all tasks, whose jobs go on, and give up the claims."""
        drivers = [driven.driver for driven in self._driven.values() if driven.driver]
        for running in [*self._loops, *drivers]:
            running.cancel()
        await asyncio.gather(*self._loops, *drivers, return_exceptions=True)
        await self._strays.aclose()
        await self.health.aclose()
        try:
            await self.store.release(self.owner)
        except StoreUnavailable as error:
            _log.warning("the claims could not be released and will expire: %s", error)

    def _rung(self, task_id: str) -> None:
        driven = self._driven.get(task_id)
        if driven is not None:
            driven.wake.set()
        else:
            self._look.set()

    async def _claim_loop(self) -> None:
        for kind in {site.kind for site in self.settings.destinations.values()}:
            await asyncio.to_thread(worker_archive_for, kind)  # takes a second, in which the API answers
        while True:
            self._look.clear()
            try:
                await self._claim(self._room())
            except StoreUnavailable as error:
                _log.warning("no tasks can be claimed: %s", error)
            except Exception:
                _log.exception("claiming tasks failed")
            try:
                async with asyncio.timeout(self.settings.scheduler.scan_s):
                    await self._look.wait()
            except TimeoutError:
                pass

    async def _claim(self, new_limit: int) -> None:
        """Claim what is free, give places, and look again at once if there may be more."""
        timing = self.settings.scheduler
        shares = self._shares()
        tasks = await self.store.claim(
            self.owner,
            lease_s=timing.lease_s,
            new_limit=new_limit,
            shares=shares,
            server=self.server,
            away_s=timing.embedded_away_s,
        )
        for task in tasks:
            self._drive(task)
        self._places.settle()
        is_full = sum(_is_new(task) for task in tasks) >= new_limit
        self._may_be_more = is_full or not all(shares.room.values())
        if new_limit and is_full:
            self._look.set()

    async def _lease_loop(self) -> None:
        forgotten: set[str] = set()
        while True:
            await asyncio.sleep(self.settings.scheduler.lease_s / 3)
            before = list(self._driven.items())  # a task claimed meanwhile is not in the answer
            try:
                held = await self.store.renew(self.owner, lease_s=self.settings.scheduler.lease_s)
            except StoreUnavailable as error:
                _log.warning("the leases could not be renewed: %s", error)
                self.metrics.renewals_failed.add()
                continue
            except Exception:
                _log.exception("renewing the leases failed")
                self.metrics.renewals_failed.add()
                continue
            self.metrics.renewed(held)
            for task_id, driven in before:
                if self._driven.get(task_id) is not driven:  # ended meanwhile
                    continue
                if task_id not in held and driven.driver is not None:
                    # the answer to our own retiring it may still be on its way
                    _log.warning("task %s is no longer claimed by us: retired, or taken over", task_id)
                    driven.is_lost = True
                    driven.driver.cancel()
                elif held.get(task_id) is State.CANCELING:
                    driven.wake.set()
            # at the second time: the first might have been on its way to us from the claim
            undriven = held.keys() - self._driven.keys()
            await self._drive_forgotten(undriven & forgotten)
            forgotten = undriven

    async def _drive_forgotten(self, ids: set[str]) -> None:
        """Drive tasks that the store says are ours: the answer to their claim was lost."""
        for task_id in ids:
            try:
                task = await self.store.get(task_id)
            except Exception as error:  # whatever it is, the leases of all others must be renewed
                _log.warning("task %s, which is ours, cannot be read: %s", task_id, error)
                continue
            if task.claim is not None and task.claim.owner == self.owner and task_id not in self._driven:
                _log.warning("task %s was claimed without our knowing", task_id)
                self._drive(task)
                self._places.settle()

    # -- one task

    def next_destination(self, document: Mapping[str, Any], owner: str, has_logins: bool) -> str:
        """Where a task that came now would go, by what it needs and what this process drives."""
        needs = self.routing.needs(document, owner, has_logins)
        closed = self.health.closed_destinations()
        return would_go_to(needs, self.settings.destinations, self._places.loads, closed)

    def waits_for(self, document: Mapping[str, Any], owner: str, has_logins: bool) -> str:
        """What a task waits for that nobody has taken yet, as this process knows; "" if only for its turn."""
        needs = self.routing.needs(document, owner, has_logins)
        closed = self.health.closed_destinations()
        return would_wait_for(needs, self.settings.destinations, self._places.loads, closed)

    def destinations(self) -> list[dict[str, Any]]:
        """How the destinations are, as this process knows them."""
        waiting = self._places.waiting_at()
        return destination_views(
            self.settings.destinations, self._places.loads, self.health.circuits, waiting
        )

    def _room(self) -> int:
        """How many new tasks to claim: as many as could begin, and some that wait and say for what.

        Servers that share a database take no more than could begin, so that another one can have the rest.
        """
        free = self._places.free()
        at_least = 0 if self.settings.store.kind == "mongodb" else _BATCH
        may_wait = room_of(0, self._places.waiting_by_owner(), self.settings.scheduler.waiting_max)
        return min(max(free, at_least), may_wait)

    def _shares(self) -> Shares:
        """What each user has of this process: cores, and tasks that wait; and how many more of these may."""
        waiting = self._places.waiting_by_owner()
        most = self.settings.scheduler.waiting_max
        room = {count: room_of(count, waiting, most) for count in {0, *waiting.values()}}
        return Shares(
            taken=waiting + Counter(self._places.cores_by_owner()),
            served=self._places.served,
            room={owner: room[count] for owner, count in waiting.items()},
            others_room=room[0],
        )

    def _turned(self) -> None:
        """A destination answers again, or does not any more."""
        self._places.settle()
        self._look.set()

    def _drive(self, task: Task) -> None:
        earlier = self._driven.get(task.id)  # its lease ended while this machine slept, say
        if earlier is not None:
            self._places.leave(earlier.place)
            deadlines = earlier.deadlines  # or the clock that ended the lease too soon would end the task
        else:
            deadlines = Deadlines(task.id, task.request, self.settings.deadlines, self.store)
        wake = asyncio.Event()
        wake.set()  # a cancel may have come between the claim and now: look once more
        driven = _Driven(self._place_for(task, wake), deadlines, wake, task.state in FINAL)
        self._driven[task.id] = driven
        self.metrics.claimed(
            task.id,
            task.state,
            task.job.destination if task.job else None,
            is_takeover=task.claim is not None and task.claim.epoch > 1,
        )
        driven.driver = asyncio.create_task(
            self._drive_to_end(task, driven, earlier.driver if earlier else None), name=f"task {task.id}"
        )

    def _place_for(self, task: Task, wake: asyncio.Event) -> Place:
        needs = self.routing.needs(task.request, task.owner, bool(task.sealed))
        if _is_new(task):
            return self._places.enter(task.id, needs, wake, task.owner)
        if task.job is not None and task.state not in FINAL:
            return self._places.occupy(task.id, needs, wake, task.job.destination, task.owner)
        return Place(task.id, needs, wake, task.owner)

    async def _drive_to_end(self, task: Task, driven: _Driven, earlier: "asyncio.Task[None] | None") -> None:
        """Call `run_task` until it is through, again after whatever passes; end an `earlier` driver first."""
        TASK_ID.set(task.id)
        if self.settings.tracing.is_on:
            TRACE_ID.set(trace_of(task.id, task.warnings).trace_id)
        around = Surroundings(
            self.store,
            self.transports,
            self.settings,
            self.lender,
            self.gateway,
            self.health,
            driven.place,
            driven.deadlines,
            driven.wake,
            partial(self._leave, driven),
            self._places.jobs_at,
            self.server,
            self.metrics,
        )
        pause_s = _RETRY_MIN_S
        bugs: list[Exception] = []
        try:
            if earlier is not None:
                earlier.cancel()
                await asyncio.wait({earlier})
            while True:
                began_at = time.monotonic()
                try:
                    if len(bugs) >= _BUG_TRIES:
                        await abandon_task(task, around, bugs.pop())
                        bugs.clear()
                        task = await self._reread(task)
                    if needs_place(task):
                        task, around = await self._find_place(task, driven, around)
                    if needs_place(task) and (reason := await self._refusal(driven.place, around)):
                        return await refuse_task(task, around, reason)
                    if await run_task(task, around):
                        return None
                    task = await self._reread(task)
                    continue
                except (ClaimLost, TaskNotFound) as error:
                    _log.warning("task %s is no longer ours: %s", task.id, error)
                    driven.is_lost = True
                    return None
                except (PulsarError, StoreUnavailable) as error:
                    _log.warning("task %s waits: %s", task.id, error)
                    self.metrics.driver_faults.add(
                        "store" if isinstance(error, StoreUnavailable) else "pulsar"
                    )
                    if isinstance(error, PulsarUnavailable) and driven.place.destination is not None:
                        self.health.doubt(driven.place.destination)
                except Exception as error:
                    _log.exception("driving task %s failed", task.id)
                    self.metrics.driver_faults.add("bug")
                    bugs.append(error)
                if time.monotonic() - began_at > _RETRY_MAX_S:  # it went well for a while
                    pause_s = _RETRY_MIN_S
                await _pause(pause_s, driven.wake)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
                task = await self._reread(task)
                if task.state in FINAL and not driven.is_over:
                    driven.is_over = True
                    self._leave(driven)
        finally:
            if self._driven.get(task.id) is driven:
                del self._driven[task.id]
                self.metrics.let_go(task.id, is_lost=driven.is_lost)
            if driven.is_lost:
                self._strays.remove_launched(task.id, driven.place.destination)
            self._leave(driven)

    async def _find_place(
        self, task: Task, driven: _Driven, around: Surroundings
    ) -> tuple[Task, Surroundings]:
        """Wait until the task may begin an attempt and has a place for it, or until it cannot have one."""
        if is_given_up(task):
            around.deadlines.begin_anew()
            await close_job(task, around)
            self._leave(driven)
            task = await wait_for_attempt(task, around)
            if not needs_place(task) or await around.deadlines.passed(State.QUEUED):
                return task, around
            avoids = task.job.destination if task.job and around.reaches(task.job) else None
            needs = driven.place.needs._replace(avoids=avoids)
            driven.place = self._places.enter(task.id, needs, driven.wake, task.owner)
            around = replace(around, place=driven.place)
            self._places.settle()
        if driven.place.destination is None:
            task = replace(task, request={})
        return await find_place(task, around, self._places), around

    async def _refusal(self, place: Place, around: Surroundings) -> str:
        """Why a task that needs a place is not to begin its attempt; "" if it may."""
        if passed := await around.deadlines.passed(State.QUEUED):
            return passed
        return refusal_text(place.needs, place.refused) if place.is_hopeless else ""

    def _leave(self, driven: _Driven) -> None:
        """Give the place of a task that is over to others; look for more if some were left in the store."""
        self.ended.ring(driven.place.task_id)
        if self._places.leave(driven.place):
            self._places.settle()
        if self._may_be_more:
            self._look.set()

    async def _reread(self, task: Task) -> Task:
        """The task as it is now, under the claim that its driver holds; as it was if it is there no more.

        Waits for the store: a driver that took an old state for the present one might repeat an attempt.
        """
        pause_s = _RETRY_MIN_S
        while True:
            try:
                return replace(await self.store.get(task.id), claim=task.claim)
            except TaskNotFound:
                return task
            except StoreUnavailable as error:
                _log.warning("task %s cannot be read: %s", task.id, error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _RETRY_MAX_S)


def _is_new(task: Task) -> bool:
    """Whether the task needs a place: it has no job yet, and nobody has asked for its end."""
    return task.job is None and task.state is State.QUEUED


async def _pause(pause_s: float, wake: asyncio.Event) -> None:
    """Wait, unless there is news of the task, such as a cancel."""
    try:
        async with asyncio.timeout(pause_s):
            await wake.wait()
    except TimeoutError:
        pass
    wake.clear()
