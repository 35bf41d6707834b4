"""A stock Pulsar with a web server, reached over HTTP.

Only asking moves such a job's state, and every answer is Pulsar's memory, so nothing here is ever
`certain`. Each read of a missing file costs Pulsar a traceback in its log: read what is there.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tesp_api.errors import PulsarRefused, PulsarUnavailable
from tesp_api.pulsar.amqp_inbox import Inbox
from tesp_api.pulsar.base import JobOrder, JobState, JobStatus
from tesp_api.pulsar.job_files import (
    RESULT_FILE,
    STARTED_FILE,
    TASK_FILE,
    TESP_FOLDER,
    WORKER_FILE,
    check_file_name,
    check_input_name,
    check_job_id,
    told,
    worker_command,
)
from tesp_api.pulsar.mailbox import Mailbox, MemoryMailbox
from tesp_api.pulsar.rest_http import CONNECTIONS, PulsarFault, PulsarHttp, in_path

LOST = "lost"
SET_UP = "preprocessing"  # set up but not launched, as far as Pulsar knows
SETTLING = "postprocessing"
STATES = {
    LOST: JobState.UNKNOWN,
    SET_UP: JobState.PENDING,
    "queued": JobState.WAITING,
    "None": JobState.WAITING,  # its word for what it does not know of its scheduler's: a suspended job, say
    "running": JobState.RUNNING,
    SETTLING: JobState.ENDED,
    "complete": JobState.ENDED,
    "failed": JobState.ENDED,
    "cancelled": JobState.ENDED,
}
STILL_DUE = ("queued", "running")
CLEAN_TRIES = 8
CLEAN_PAUSE_S = 0.02
FRESH_S = 2.0
"""A Pulsar that answered so recently is well: its 500 means that there is no such file."""

APART_S = 0.002
"""Between the ends of two waits."""


class RestPulsar:
    """The `PulsarTransport` of a Pulsar at `url`, which may have a path before its own.

    `manager` names one of Pulsar's managers, None means its default one. `python` is the
    interpreter at the site, a name on its PATH or a path. `timeout_s` bounds each request, of which so many
    are sent at once as there are `connections`. What workers report lies in the `mailbox`.
    """

    def __init__(
        self,
        name: str,
        url: str,
        private_token: str | None = None,
        manager: str | None = None,
        python: str = "python3",
        timeout_s: float = 30.0,
        connections: int = CONNECTIONS,
        mailbox: Mailbox | None = None,
    ) -> None:
        self.min_pause_s = 0.0
        self.status_first = True
        self.name = name
        self.bell: str | None = None
        self._http = PulsarHttp(name, url, private_token, timeout_s, connections)
        self._inbox = Inbox(mailbox or MemoryMailbox())
        self._manager = manager
        self._root = f"/managers/{in_path(manager)}" if manager is not None else ""
        self._command = worker_command(python)
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._turn = 0.0  # when the last of the waits ends that end one by one
        self._set_up_here: set[str] = set()
        self._stream = asyncio.Semaphore(1)  # each blocks one of Pulsar's few threads

    async def open(self) -> None:
        """Nothing is asked yet: a Pulsar that is down must not keep the server from starting."""

    async def aclose(self) -> None:
        await self._http.aclose()

    async def check(self) -> None:
        try:
            await self._http.send("GET", f"{self._root}/healthz")
        except PulsarFault:
            if self._manager is None:
                raise
            await self._http.send("GET", "/healthz")  # Pulsar itself is well, so it is the manager
            self._http.doubt()
            raise PulsarRefused(f"Pulsar {self.name!r} has no manager {self._manager!r}") from None

    async def launch(self, order: JobOrder) -> None:
        """Set up, upload, submit: as much of it as is not done yet.

        Pulsar is asked first unless the job is new, because an upload overwrites the worker in place, under
        a job that may be running it.

        Raises:
            PulsarRefused: also when this Pulsar invents job ids (`assign_ids: uuid`): a job that is
                submitted again would run again there.
        """
        state = LOST if order.is_new else await self._state_or_none(order.job_id)
        if state in (LOST, SET_UP):
            if state == SET_UP and await self._has_started(order.job_id):
                return
            await self._place(order)
        elif state not in STILL_DUE or await self._has_started(order.job_id):
            return
        # Pulsar does nothing for a job that it still has in hand, and runs one that it has forgotten
        # (killed between our submit and its fork, it says `queued` for ever)
        query = {"command_line": self._command}
        if order.params:
            query["params"] = json.dumps(dict(order.params))
        await self._http.send("POST", self._job(order.job_id, "/submit"), query)
        self._wake(order.job_id)

    async def status(self, job_id: str) -> JobStatus:
        answer = await self._answer_or_none(job_id)
        if answer is None:
            return JobStatus(JobState.UNTOLD, certain=False, detail="Pulsar fails to report on this job")
        state = str(answer.get("status"))
        if state not in STATES:
            raise PulsarUnavailable(f"Pulsar {self.name!r} gave an unknown status: {state[:40]!r}")
        return JobStatus(STATES[state], certain=False, detail=told(answer))

    async def read_file(self, job_id: str, name: str) -> bytes | None:
        if (reported := await self._inbox.file(check_job_id(job_id), check_file_name(name))) is not None:
            return reported
        query = {"type": "output_metadata", "name": f"{TESP_FOLDER}/{name}"}
        try:
            return await self._http.send("GET", self._job(job_id, "/files"), query)
        except PulsarFault:
            # a missing file; one that cannot be read closes the connection instead
            if self._http.answered_s_ago > FRESH_S:
                await self.check()
            return None

    async def let_go(self, job_id: str, name: str) -> None:
        """Only what workers report is held here, and that is little."""

    async def write_file(self, job_id: str, name: str, data: bytes) -> None:
        """Not atomic: a reader at the site may see the first part of a large file.

        Raises:
            PulsarRefused: there is no such job; Pulsar would make a directory for it.
        """
        check_file_name(name)
        if await self._state_or_none(job_id) == LOST:
            raise PulsarRefused(f"there is no job {job_id} to write {name} for")
        await self._upload(job_id, "metadata", f"{TESP_FOLDER}/{name}", data)
        self._wake(job_id)

    async def set_up(self, job_id: str) -> None:
        if await self._state_or_none(job_id) == LOST:
            await self._set_up(job_id)
        self._set_up_here.add(job_id)

    async def place_file(self, job_id: str, name: str, source: Path) -> None:
        path = self._job(job_id, "/files")
        async with self._stream:
            is_known = job_id in self._set_up_here  # not asked for each of very many files
            if not is_known and await self._state_or_none(job_id) == LOST:
                raise PulsarRefused(f"there is no job {job_id} to place {name} for")
            await self._http.send_file(path, {"type": "input", "name": check_input_name(name)}, source)

    async def fetch_file(self, job_id: str, name: str, sink: Callable[[bytes], None]) -> bool:
        query = {"type": "output_metadata", "name": f"{TESP_FOLDER}/{check_file_name(name)}"}
        try:
            async with self._stream:
                await self._http.fetch(self._job(job_id, "/files"), query, sink)
        except PulsarFault:
            await self.check()
            return False
        return True

    async def wait_for_news(self, job_id: str, timeout_s: float) -> None:
        """Wait out the time; only what this process itself does to the job ends the wait early.

        Waits that are over at one time end one by one: what is asked at once is answered at once, is asked
        at once again, and keeps everybody else waiting.
        """
        event = asyncio.Event()
        self._waiting[check_job_id(job_id)].add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            now = time.monotonic()
            self._turn = max(self._turn + APART_S, now)
            await asyncio.sleep(self._turn - now)
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def cancel(self, job_id: str) -> None:
        """Have Pulsar kill the job, unless it has left its result.

        A restarted Pulsar takes an ended job for a running one, and kills whatever has its pid now.
        One that was killed between fork and record kills nothing: a worker that must stop for
        certain needs its `cancel` file too.
        """
        if await self.read_file(job_id, RESULT_FILE) is None:
            await self._http.send("PUT", self._job(job_id, "/cancel"))
        self._wake(job_id)

    async def own_jobs(self) -> list[str]:
        return []

    async def clean(self, job_id: str) -> None:
        self._set_up_here.discard(job_id)
        await self._inbox.forget(job_id)
        # asking for the status first makes Pulsar see the end and drop its own record of the job;
        # it then still writes into the directory for a moment, which its delete would stumble over
        for attempt in range(CLEAN_TRIES):
            state = await self._state_or_none(job_id)
            if state == LOST:
                return
            if state != SETTLING or attempt >= CLEAN_TRIES // 2:
                await self._http.send("DELETE", self._job(job_id))
                if await self._state_or_none(job_id) == LOST:
                    return
            await asyncio.sleep(CLEAN_PAUSE_S * (attempt + 1))
        raise PulsarUnavailable(f"Pulsar {self.name!r} could not remove the directory of job {job_id}")

    async def _place(self, order: JobOrder) -> None:
        """Make the job directory, if there is none yet, and put the files of the order into it."""
        job_id = order.job_id
        await self._set_up(job_id)
        await asyncio.gather(
            self._upload(job_id, "tool", WORKER_FILE, order.worker),
            self._upload(job_id, "tool", TASK_FILE, order.task_json),
        )

    async def _set_up(self, job_id: str) -> None:
        answer = await self._json("POST", f"{self._root}/jobs", {"job_id": job_id})
        if (given := str(answer.get("job_id", job_id))) != job_id:
            await self._http.send("DELETE", f"{self._root}/jobs/{in_path(given)}")
            raise PulsarRefused(f"Pulsar {self.name!r} invents job ids: remove `assign_ids` from its app.yml")

    async def _has_started(self, job_id: str) -> bool:
        return await self.read_file(job_id, STARTED_FILE) is not None

    async def _upload(self, job_id: str, kind: str, name: str, data: bytes) -> None:
        await self._http.send("POST", self._job(job_id, "/files"), {"type": kind, "name": name}, data)

    async def _state_or_none(self, job_id: str) -> str | None:
        answer = await self._answer_or_none(job_id)
        return None if answer is None else str(answer.get("status"))

    async def _answer_or_none(self, job_id: str) -> dict[str, Any] | None:
        """Pulsar's status of the job; None where it stumbles over that.

        It does so when an ended job's output is not UTF-8, at every question from then on, and while the
        scheduler behind it does not answer.
        """
        try:
            return await self._json("GET", self._job(job_id, "/status"))
        except PulsarFault:
            await self.check()
            return None

    async def _json(self, method: str, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        text = await self._http.send(method, path, query)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise PulsarUnavailable(f"Pulsar {self.name!r} sent something that is not Pulsar's JSON")
        return answer

    def _job(self, job_id: str, rest: str = "") -> str:
        return f"{self._root}/jobs/{check_job_id(job_id)}{rest}"

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()
