"""Probes: tiny jobs that read and write the files of other jobs, where nothing but a broker reaches the site.

A probe's answer comes home in its final status. One probe serves all that is asked while the one before it
is on its way, so that their number does not grow with that of the jobs.
"""

import asyncio
import base64
import json
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tesp_api.errors import PulsarUnavailable

ANSWER_FILE = "answer.json"
ANSWER_TIMEOUT_S = 30.0
PAUSE_MIN_S, PAUSE_MAX_S = 10.0, 300.0
"""Between a probe that had no answer in time and the next one: all that a site has no slot for run later."""
LATE_S = 900.0
"""So long an answer that is late may still be somewhere."""
MOST_ERRANDS = 200
_FIND_EVERY_S, _FIND_LATE_EVERY_S = 0.5, 5.0
_REMEMBERED = 1000
_REMOVALS_WAIT_S, _REMOVALS_LOOK_S = 1.0, 0.05
_REMOVALS_SHARE, _REMOVALS_WAIT_MOST_S = 0.1, 10.0
"""Of a site's time for probes that only remove: a site may have one slot for them and all tasks."""
PROBE = "tesp-probe-"
"""How the ids of all probes begin."""

_log = logging.getLogger(__name__)

SCRIPT = r"""
import base64, json, os, shutil, sys, time
job = os.path.abspath(sys.argv[1])
site = os.path.dirname(job)
ROOM = room = 4 << 20
MOST = 64 << 20
def run(errand):
    global room
    place = os.path.join(site, errand["job"])
    if errand["do"] == "remove":
        for _ in range(3):
            shutil.rmtree(place, ignore_errors=True)
        return {"gone": not os.path.lexists(place)}
    if not os.path.isdir(place):
        return {}
    if errand["do"] == "write":
        path = os.path.join(place, "metadata", "tesp", errand["name"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        draft = path + ".draft"
        with open(draft, "wb") as file:
            file.write(base64.b64decode(errand["data"]))
        os.replace(draft, path)
        return {"written": True}
    files = {}
    for name in list(errand["names"]) + grown(place, errand.get("known")):
        try:
            descriptor = os.open(os.path.join(place, "metadata", "tesp", name), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MOST if room == ROOM else room + 1)
        if len(data) > room and room < ROOM:
            if not files:
                return {"later": True}
            break
        room -= len(data)
        files[name] = base64.b64encode(data).decode()
    return {"files": files}
def grown(place, known):
    if known is None:
        return []
    logs = os.path.join(place, "metadata", "tesp", "logs")
    try:
        with os.scandir(logs) as entries:
            sizes = {"logs/" + one.name: one.stat(follow_symlinks=False).st_size for one in entries}
    except OSError:
        return []
    return sorted(name for name in sizes if sizes[name] != known.get(name))
def forget_old_probes():
    for name in os.listdir(site):
        path = os.path.join(site, name)
        if name.startswith("tesp-probe-") and time.time() - os.lstat(path).st_mtime > 900:
            shutil.rmtree(path, ignore_errors=True)
with open(os.path.join(job, "tool_files", "errands.json")) as file:
    errands = json.load(file)
answer = []
for errand in errands:
    try:
        answer.append(run(errand))
    except OSError as error:
        answer.append({"error": error.strerror})
try:
    forget_old_probes()
except OSError:
    pass
draft = os.path.join(job, "metadata", "answer.draft")
with open(draft, "w") as file:
    json.dump(answer, file)
os.replace(draft, os.path.join(job, "metadata", "answer.json"))
"""

Errand = Mapping[str, Any]
Answer = Mapping[str, Any]


@dataclass(slots=True)
class _Sent:
    """A probe of ours, with the errands whose answers have not come."""

    at: float
    errands: list[Errand]


def _pass_over(errand: Errand, answer: Answer) -> None:
    """What becomes of an answer that nobody waits for."""


@dataclass(slots=True)
class Prober:
    """Runs errands at a site, each an object of what `SCRIPT` reads; several callers share a probe.

    `submit` sends a job: its id, the errands as JSON. `answered` is to be called with what came of it, or
    `find` to give that, once, where another server of the same store has heard it. What comes when its caller
    has given up goes to `late`. `name` is for the log.
    """

    submit: Callable[[str, str], Awaitable[None]]
    find: Callable[[str], Awaitable[str | None]]
    name: str = ""
    late: Callable[[Errand, Answer], None] = _pass_over
    heard_of: float = field(init=False, default=-math.inf)
    """When the last of those that were carried out was sent, by the monotonic clock."""
    _waiting: list[tuple[Errand, asyncio.Future[Answer]]] = field(init=False, default_factory=list)
    _answers: dict[str, asyncio.Future[str]] = field(init=False, default_factory=dict)
    _sent: dict[str, _Sent] = field(init=False, default_factory=dict)
    _over: list[str] = field(init=False, default_factory=list)
    _running: "asyncio.Task[None] | None" = field(init=False, default=None)
    _pause_s: float = field(init=False, default=0.0)
    _next_at: float = field(init=False, default=0.0)
    _found_at: float = field(init=False, default=0.0)
    _removals_from: float = field(init=False, default=0.0)

    async def run(self, errand: Errand) -> Answer:
        """Have one errand run.

        Raises:
            PulsarUnavailable: no answer came in time, or the site could not do it now. Without a probe, if
                those before it had no answer.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((errand, future))
        if self._running is None:
            self._running = asyncio.create_task(self._work())
        return await future

    def answered(self, job_id: str, answer: str) -> bool:
        """Take in what a probe brought home ("": nothing), be it late; False if it is none of ours."""
        sent = self._sent.get(job_id)
        if sent is None:
            return False
        future = self._answers.pop(job_id, None)
        if future is not None:
            if not future.done():
                future.set_result(answer)
        elif errands := sent.errands:
            self._settle(job_id)
            self._take_late(job_id, errands, answer)
        return True

    async def aclose(self) -> None:
        """Give up what is on its way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather_removals()
                some, self._waiting = self._waiting[:MOST_ERRANDS], self._waiting[MOST_ERRANDS:]
                open_ones = [(errand, future) for errand, future in some if not future.done()]
                if open_ones:
                    await self._probe(open_ones)
        finally:
            self._running = None
            left, self._waiting = self._waiting, []
            _fail(left, PulsarUnavailable("the probes of the site have ended"))

    async def _gather_removals(self) -> None:
        """Wait for a while if nobody waits for more than a removal: one job removes many."""
        over_at = max(time.monotonic() + _REMOVALS_WAIT_S, self._removals_from)
        while all(errand["do"] == "remove" for errand, _ in self._waiting):
            left_s = over_at - time.monotonic()
            if left_s <= 0 or len(self._waiting) >= MOST_ERRANDS:
                return
            await asyncio.sleep(min(left_s, _REMOVALS_LOOK_S))

    async def _probe(self, asked: list[tuple[Errand, asyncio.Future[Answer]]]) -> None:
        """Whatever happens, nobody is left waiting."""
        began_at = time.monotonic()
        try:
            answers = await self._send([errand for errand, _ in asked])
            for (errand, future), answer in zip(asked, answers, strict=True):
                self._hand_over(errand, future, answer)
        except Exception as error:
            _fail(asked, error)
        except asyncio.CancelledError:
            _fail(asked, PulsarUnavailable("the probe of the site was given up"))
            raise
        finally:
            ended_at = time.monotonic()
            pause_s = min((ended_at - began_at) / _REMOVALS_SHARE, _REMOVALS_WAIT_MOST_S)
            self._removals_from = ended_at + pause_s

    def _hand_over(self, errand: Errand, future: asyncio.Future[Answer], answer: Answer) -> None:
        if answer.get("later"):
            self._waiting.append((errand, future))
        elif future.done():
            self.late(errand, answer)
        elif "error" in answer:
            text = f"the site could not {errand['do']} a file of job {errand['job']}: {answer['error']}"
            future.set_exception(PulsarUnavailable(text))
        else:
            future.set_result(answer)

    async def _send(self, errands: list[Errand]) -> list[Answer]:
        """One probe; it also removes the directories of those before it.

        Raises:
            PulsarUnavailable: there is no right answer, or it is too early for another try.
        """
        await self._find_late()
        if (left_s := self._next_at - time.monotonic()) > 0:
            raise PulsarUnavailable(f"the site has not answered a probe; the next one goes in {left_s:.0f} s")
        job_id = PROBE + secrets.token_hex(12)
        over, self._over = self._over, []
        removals = [{"do": "remove", "job": old} for old in over]
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[job_id] = answer
        self._remember(job_id, errands)
        try:
            await self.submit(job_id, json.dumps([*errands, *removals]))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                text = await self._wait_for(job_id, answer)
        except BaseException as error:
            self._over += over
            if isinstance(error, TimeoutError):
                self._put_off()
                raise PulsarUnavailable(f"the site gave no answer in {ANSWER_TIMEOUT_S:g} s") from None
            raise
        finally:
            self._answers.pop(job_id, None)
        self._settle(job_id)
        if not text:
            raise PulsarUnavailable("a probe of the site ended without an answer")
        return self._read(job_id, text, len(errands))

    def _read(self, job_id: str, text: str, number: int) -> list[Answer]:
        """Raises: PulsarUnavailable: it is no answer."""
        answers = _read_answers(text, number)
        self.heard_of = max(self.heard_of, self._sent[job_id].at)
        return answers

    async def _wait_for(self, job_id: str, answer: asyncio.Future[str]) -> str:
        while not answer.done():
            await asyncio.wait({answer}, timeout=_FIND_EVERY_S)
            if not answer.done() and (found := await self.find(job_id)) is not None:
                return found
        return answer.result()

    # -- answers that come late, or never

    def _remember(self, job_id: str, errands: list[Errand]) -> None:
        self._sent[job_id] = _Sent(time.monotonic(), errands)
        if len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def _put_off(self) -> None:
        """The site has no slot for a probe: those that are sent nevertheless would only wait in a row."""
        self._pause_s = min(max(2 * self._pause_s, PAUSE_MIN_S), PAUSE_MAX_S)
        self._next_at = time.monotonic() + self._pause_s
        _log.warning(
            "%s: the site gave no answer to a probe in %g s; the next one is sent after %g s",
            self.name,
            ANSWER_TIMEOUT_S,
            self._pause_s,
        )

    def _settle(self, job_id: str) -> None:
        """The site has answered."""
        self._pause_s = self._next_at = 0.0
        self._over.append(job_id)
        self._sent[job_id].errands = []

    async def _find_late(self) -> None:
        """See whether another server has heard an answer since its caller gave up."""
        now = time.monotonic()
        if now - self._found_at < _FIND_LATE_EVERY_S:
            return
        self._found_at = now
        for job_id, sent in list(self._sent.items()):
            if sent.errands and now - sent.at < LATE_S and (text := await self.find(job_id)) is not None:
                self.answered(job_id, text)

    def _take_late(self, job_id: str, errands: list[Errand], text: str) -> None:
        try:
            answers = self._read(job_id, text, len(errands))
        except PulsarUnavailable:
            return
        for errand, answer in zip(errands, answers, strict=True):
            self.late(errand, answer)


def _fail(asked: list[tuple[Errand, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in asked:
        if not future.done():
            future.set_exception(error)


def _read_answers(text: str, number: int) -> list[Answer]:
    """The answers to the first errands of a probe.

    Raises:
        PulsarUnavailable: it is not what `SCRIPT` writes.
    """
    try:
        answers = json.loads(text)
    except ValueError:
        answers = None
    if not isinstance(answers, list) or len(answers) < number:
        raise PulsarUnavailable("a probe of the site brought home what is no answer")
    if not all(isinstance(answer, dict) for answer in answers):
        raise PulsarUnavailable("a probe of the site brought home what is no answer")
    return answers[:number]


def files_of(answer: Answer) -> dict[str, bytes]:
    """The files that were read; those that do not exist are not among them.

    Raises:
        PulsarUnavailable: it is not what `SCRIPT` writes.
    """
    try:
        coded = answer.get("files", {}).items()
        return {name: base64.b64decode(data, validate=True) for name, data in coded}
    except (ValueError, TypeError, AttributeError):
        raise PulsarUnavailable("a probe of the site brought home what are no files") from None
