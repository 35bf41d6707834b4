"""A stock Pulsar behind a message broker, in Pulsar's own protocol.

Whatever is sent home by itself lies in the mailbox: Pulsar's last word on a job, and what the worker left at
its end. What else is wanted of a site that reaches nothing but the broker is fetched by probes
(`amqp_probe`).
"""

import asyncio
import base64
import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tesp_api.errors import PulsarRefused, PulsarUnavailable
from tesp_api.pulsar.amqp_broker import Broker
from tesp_api.pulsar.amqp_files import HEARTBEAT, FilesByProbe
from tesp_api.pulsar.amqp_inbox import GOING_ON, HOME_FILE, Inbox, is_last, status_of
from tesp_api.pulsar.amqp_probe import ANSWER_FILE, PROBE, SCRIPT, Prober
from tesp_api.pulsar.base import JobOrder, JobState, JobStatus
from tesp_api.pulsar.job_files import (
    TASK_FILE,
    WORKER_TEXT_FILE,
    check_file_name,
    check_job_id,
    worker_command,
)
from tesp_api.pulsar.mailbox import Mailbox
from tesp_api.pulsar.worker_text import as_text

MIN_PAUSE_S = 2.0
STATUS_TIMEOUT_S = 10.0
_LOOK_S = 0.5
_AGAIN_MIN_S, _AGAIN_MAX_S = 60.0, 900.0
"""So long after it was sent an order goes again if Pulsar says that it has none; then twice as long."""
_ORDERS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _SentOrder:
    """An order that the broker keeps, or has given to Pulsar; `word` is what Pulsar had said before."""

    word: bytes | None
    at: float
    wait_s: float


class AmqpPulsar:
    """The `PulsarTransport` of a Pulsar that listens to the broker at `url` (with user and password).

    `manager` names one of Pulsar's managers, None means its default one. `ca` is the file of the authority
    of an amqps:// broker, if it is none of the usual ones. One that does not listen leaves all messages to
    others: it is only good for `check`. One that is `alone` has a mailbox that no other server shares.
    """

    def __init__(
        self,
        name: str,
        url: str,
        mailbox: Mailbox,
        manager: str | None = None,
        python: str = "python3",
        *,
        ca: Path | None = None,
        listens: bool = True,
        alone: bool = False,
    ) -> None:
        self.name = name
        self.bell: str | None = None
        self.min_pause_s = MIN_PAUSE_S
        self.status_first = False
        self._inbox = Inbox(mailbox, alone=alone)
        self._python = python
        self._broker = Broker(name, url, manager, self._hear if listens else None, ca, alone=alone)
        self._prober = Prober(self._submit_probe, self._inbox.find_answer, name)
        self._files = FilesByProbe(self._prober)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._asking: Counter[str] = Counter()
        self._orders: dict[str, _SentOrder] = {}

    async def open(self) -> None:
        await self._broker.open()

    async def aclose(self) -> None:
        await self._prober.aclose()
        await self._broker.aclose()

    async def check(self) -> None:
        if not await self._broker.listeners():
            raise PulsarUnavailable(f"Pulsar {self.name!r}: nobody listens at the broker")

    async def launch(self, order: JobOrder) -> None:
        """One message holds it all, and stays at the broker until Pulsar takes it: it is sent once.

        It is sent again if Pulsar says that it does not have the job; it passes over one that it has.
        """
        job_id = check_job_id(order.job_id)
        word = await self._inbox.last_word(job_id)
        if not order.is_new and self._is_under_way(job_id, word):
            if word is None and await self._inbox.file(job_id, HEARTBEAT) is None:
                await self.check()
            return
        files = {WORKER_TEXT_FILE: as_text(order.worker), TASK_FILE: order.task_json.decode()}
        command = worker_command(self._python, WORKER_TEXT_FILE)
        home = [(HOME_FILE, f"../metadata/tesp/{HOME_FILE}")]
        await self._submit(job_id, command, files, home, order.params)
        self._remember_order(job_id, word)
        self._wake(job_id)

    async def status(self, job_id: str) -> JobStatus:
        """Ask, and wait for the answer, which may arrive at another server that shares the mailbox."""
        before = await self._inbox.last_word(check_job_id(job_id))
        if before is not None and is_last(before):
            return status_of(before)
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        self._asking[job_id] += 1
        try:
            await self._broker.send("status", {"request": "status", "job_id": job_id})
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                while (now := await self._inbox.last_word(job_id)) == before:
                    await self._rest(event, _LOOK_S)
        except TimeoutError:
            raise PulsarUnavailable(f"Pulsar {self.name!r} does not say how job {job_id} is") from None
        finally:
            self._forget(job_id, event)
            self._asking[job_id] -= 1
            self._asking += Counter()  # those that nobody asks for any more go
        return status_of(now or b"{}")

    async def read_file(self, job_id: str, name: str) -> bytes | None:
        """What has come by itself, or what a probe finds, if nothing comes while that is on its way."""
        check_file_name(name)
        event = asyncio.Event()
        self._waiting[check_job_id(job_id)].add(event)
        probe: asyncio.Task[bytes | None] | None = None
        try:
            while (kept := await self._inbox.file(job_id, name)) is None:
                probe = probe or asyncio.create_task(self._files.read(job_id, name))
                news = asyncio.create_task(event.wait())
                await asyncio.wait({probe, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if probe.done():
                    return probe.result()
                event.clear()
            return kept
        finally:
            self._forget(job_id, event)
            if probe is not None:
                probe.cancel()

    async def let_go(self, job_id: str, name: str) -> None:
        await self._inbox.forget(check_job_id(job_id), check_file_name(name))

    async def write_file(self, job_id: str, name: str, data: bytes) -> None:
        """Raises: PulsarRefused: there is no such job."""
        check_job_id(job_id)
        check_file_name(name)
        coded = base64.b64encode(data).decode()
        errand = {"do": "write", "job": job_id, "name": name, "data": coded}
        answer = await self._prober.run(errand)
        if not answer.get("written"):
            raise PulsarRefused(f"there is no job {job_id} to write {name} for")
        self._wake(job_id)

    async def set_up(self, job_id: str) -> None:
        """Raises: PulsarRefused, always: files of any size do not go through a broker."""
        raise PulsarRefused(f"Pulsar {self.name!r} is reached by messages, which cannot carry files")

    async def place_file(self, job_id: str, name: str, source: Path) -> None:
        await self.set_up(job_id)

    async def fetch_file(self, job_id: str, name: str, sink: Callable[[bytes], None]) -> bool:
        data = await self.read_file(job_id, name)
        if data is not None:
            await asyncio.to_thread(sink, data)
        return data is not None

    async def wait_for_news(self, job_id: str, timeout_s: float) -> None:
        event = asyncio.Event()
        self._waiting[check_job_id(job_id)].add(event)
        try:
            await self._rest(event, timeout_s)
        finally:
            self._forget(job_id, event)

    async def cancel(self, job_id: str) -> None:
        """Pulsar forgets a kill that comes before the launch: repeat it until the job is over."""
        await self._broker.send("kill", {"job_id": check_job_id(job_id)})
        self._wake(job_id)

    async def own_jobs(self) -> list[str]:
        return []

    async def clean(self, job_id: str) -> None:
        """Pulsar's own record of the job stays: there is no message that removes it."""
        answer = await self._prober.run({"do": "remove", "job": check_job_id(job_id)})
        if not answer.get("gone"):
            raise PulsarUnavailable(f"Pulsar {self.name!r} could not remove the directory of job {job_id}")
        self._files.forget(job_id)
        self._orders.pop(job_id, None)
        await self._inbox.forget(job_id)

    # -- what comes from the site

    async def _hear(self, body: Mapping[str, Any]) -> None:
        """A status update: acknowledged once what it says lies in the mailbox."""
        job_id = body["job_id"]
        sent = {
            str(source.get("type")): str(source.get("contents", ""))
            for source in body.get("realized_dynamic_file_sources") or ()
        }
        if not job_id.startswith(PROBE):
            await self._inbox.take(job_id, body, sent)
            if body.get("status") not in GOING_ON or self._asking[job_id]:
                self._wake(job_id)  # of a job that runs there is nothing to read without a probe
        elif body.get("status") not in GOING_ON:
            answer = sent.get(ANSWER_FILE, "")
            if not self._prober.answered(job_id, answer):
                await self._inbox.leave_answer(job_id, answer)

    # -- what goes there

    def _is_under_way(self, job_id: str, word: bytes | None) -> bool:
        """Whether Pulsar has the job's order, or will have it once it takes what the broker keeps for it.

        It takes orders one after the other: one of a job that it does not know is lost if a later one, of a
        probe, was carried out.
        """
        state = None if word is None else status_of(word).state
        sent = self._orders.get(job_id)
        if sent is None:
            return state not in (None, JobState.UNKNOWN, JobState.PENDING)
        if state is not JobState.UNKNOWN or word == sent.word:
            return True
        return self._prober.heard_of <= sent.at and time.monotonic() - sent.at < sent.wait_s

    def _remember_order(self, job_id: str, word: bytes | None) -> None:
        before = self._orders.pop(job_id, None)
        wait_s = _AGAIN_MIN_S if before is None else min(2 * before.wait_s, _AGAIN_MAX_S)
        self._orders[job_id] = _SentOrder(word, time.monotonic(), wait_s)
        if len(self._orders) > _ORDERS_REMEMBERED:
            del self._orders[next(iter(self._orders))]

    async def _submit_probe(self, job_id: str, errands: str) -> None:
        command = f"exec {shlex.quote(self._python)} -I -S ../tool_files/probe.py .."
        files = {"probe.py": SCRIPT, "errands.json": errands}
        await self._submit(job_id, command, files, [(ANSWER_FILE, f"../metadata/{ANSWER_FILE}")])

    async def _submit(
        self,
        job_id: str,
        command: str,
        files: Mapping[str, str],
        wanted: list[tuple[str, str]],
        params: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`files` go to `tool_files/`, as text; the `wanted` ones (what, path) come in the final status."""
        setup = [
            {"name": name, "type": "tool", "action": {"action_type": "message", "contents": contents}}
            for name, contents in files.items()
        ]
        body = {
            "job_id": job_id,
            "command_line": command,
            "setup_params": {"job_id": job_id},
            "env": [],
            "submit_params": dict(params),
            "remote_staging": {"setup": setup},
            "dynamic_file_sources": [{"type": what, "path": path} for what, path in wanted],
        }
        await self._broker.send("setup", body)

    # -- small parts

    async def _rest(self, event: asyncio.Event, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
                event.clear()
        except TimeoutError:
            pass

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()

    def _forget(self, job_id: str, event: asyncio.Event) -> None:
        self._waiting[job_id].discard(event)
        if not self._waiting[job_id]:
            del self._waiting[job_id]
