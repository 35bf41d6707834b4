"""What has come from a site by itself: Pulsar's words on jobs, and the files that workers sent home."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tesp_api.errors import PulsarRefused
from tesp_api.pulsar.amqp_files import EVENTS, HEARTBEAT
from tesp_api.pulsar.amqp_probe import ANSWER_FILE, LATE_S
from tesp_api.pulsar.base import JobState, JobStatus
from tesp_api.pulsar.job_files import RESULT_FILE, check_file_name, told
from tesp_api.pulsar.mailbox import Mailbox

STATUS = "pulsar-status"
LAST_STATUS = "pulsar-last-status"
"""Names in the mailbox, which no file of a job has."""
HOME_FILE = "home.json"
GOING_ON = ("preprocessing", "queued", "running", "postprocessing", None)
_TERMINAL = ("complete", "failed", "cancelled")
_KEPT = ("status", "returncode", "job_stderr", "job_directory_contents")
STATES = {
    "lost": JobState.UNKNOWN,
    "preprocessing": JobState.PENDING,
    "queued": JobState.WAITING,
    "None": JobState.WAITING,  # its word for what it does not know of its scheduler's: a suspended job, say
    "running": JobState.RUNNING,
    "postprocessing": JobState.ENDED,
    **dict.fromkeys(_TERMINAL, JobState.ENDED),
}
_BELIEVED_S = 15.0
"""So long a heartbeat that a worker has reported is taken for its last one."""
_MAILBOX_TAKES_BYTES = 12 * 1024**2
_ANSWERS_STAY = timedelta(seconds=LATE_S)


@dataclass(slots=True)
class Inbox:
    """One site's part of the mailbox, which may be shared with other servers, unless this one is `alone`."""

    mailbox: Mailbox
    alone: bool = False
    _beats: dict[str, tuple[bytes, float]] = field(init=False, default_factory=dict)

    async def take(self, job_id: str, body: Mapping[str, Any], sent: Mapping[str, str]) -> None:
        """Keep a status update, and the files that came with it; nothing counts after a last one."""
        status = str(body.get("status", ""))
        if status not in STATES or await self.mailbox.get(job_id, LAST_STATUS) is not None:
            return
        word = {key: body[key] for key in _KEPT if key in body}
        word["token"] = secrets.token_hex(8)
        if status in _TERMINAL:
            await self._take_home(job_id, sent.get(HOME_FILE, ""))
        name = LAST_STATUS if status in _TERMINAL else STATUS
        await self.mailbox.put(job_id, name, json.dumps(word).encode())

    async def last_word(self, job_id: str) -> bytes | None:
        """Pulsar's latest word, for `status_of`: no two that it has said are the same."""
        return await self.mailbox.get(job_id, LAST_STATUS) or await self.mailbox.get(job_id, STATUS)

    async def file(self, job_id: str, name: str) -> bytes | None:
        """A file that was sent home; one of which a part is missing is not, and is forgotten.

        A heartbeat that stands still is not believed: the worker may have lost its way to the server. Then
        all is forgotten, for the site has newer, and a worker that reports again begins anew.
        """
        kept = await self.mailbox.get(job_id, name)
        if kept is None:
            return None
        if not await self._is_whole(job_id, name, kept):
            await self.forget(job_id, name)
            return None
        if name != HEARTBEAT or json.loads(kept).get("ended"):
            return kept
        now = time.monotonic()
        beat, since = self._beats.get(job_id, (b"", now))
        self._beats[job_id] = (kept, since if beat == kept else now)
        if now - self._beats[job_id][1] < _BELIEVED_S:
            return kept
        await self.forget(job_id)
        return None

    async def forget(self, job_id: str, name: str | None = None) -> None:
        """Keep one of the job's files no longer, or all of them."""
        self._beats.pop(job_id, None)
        await self.mailbox.drop(job_id, name)

    async def leave_answer(self, job_id: str, answer: str) -> None:
        """Of a probe of another server, which may have given it up."""
        if not self.alone and len(answer) <= _MAILBOX_TAKES_BYTES:
            await self.mailbox.put(job_id, ANSWER_FILE, answer.encode(), _ANSWERS_STAY)

    async def find_answer(self, job_id: str) -> str | None:
        """What another server has heard of our probe; once."""
        if self.alone:
            return None
        answer = await self.mailbox.get(job_id, ANSWER_FILE)
        if answer is None:
            return None
        await self.mailbox.drop(job_id)
        return answer.decode()

    async def _is_whole(self, job_id: str, name: str, kept: bytes) -> bool:
        """Whether it is all of a file that came in parts: the worker may have lost its way between two."""
        if name in (HEARTBEAT, RESULT_FILE):
            return _object_in(kept) is not None
        if name != EVENTS:
            return True
        beat = _object_in(await self.mailbox.get(job_id, HEARTBEAT) or b"") or {}
        return len(kept) >= int(beat.get("events_bytes") or 0)

    async def _take_home(self, job_id: str, text: str) -> None:
        """The heartbeat, which says that it has ended, comes last."""
        files = _read_home(text)
        beat = files.pop(HEARTBEAT, None)
        await asyncio.gather(*(self.mailbox.put(job_id, name, data) for name, data in files.items()))
        if beat is not None:
            await self.mailbox.put(job_id, HEARTBEAT, beat)


def _read_home(text: str) -> dict[str, bytes]:
    """The files that a worker has sent home; none if there are none, or if it is not what workers write."""
    try:
        files = json.loads(text)["files"]
        return {check_file_name(name): base64.b64decode(data, validate=True) for name, data in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, PulsarRefused):
        return {}


def _object_in(text: bytes) -> dict[str, Any] | None:
    """The JSON object; None if it is none, or only the beginning of one."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def is_last(text: bytes) -> bool:
    """Whether Pulsar will say nothing else of the job."""
    return json.loads(text).get("status") in _TERMINAL


def status_of(text: bytes) -> JobStatus:
    """What a word of Pulsar's means."""
    word = json.loads(text)
    state = STATES[str(word["status"])] if "status" in word else JobState.UNKNOWN
    return JobStatus(state, certain=False, detail=told(word))
