"""What a site sends by itself: duplicates and stale words change nothing, and silence is not believed."""

import base64
import json
import time
from datetime import timedelta
from typing import Any

import pytest

from tesp_api.pulsar.amqp_inbox import HOME_FILE, Inbox, is_last, status_of
from tesp_api.pulsar.amqp_probe import ANSWER_FILE
from tesp_api.pulsar.base import JobState
from tesp_api.pulsar.mailbox import MemoryMailbox

JOB = "task-1"
ENDED = b'{"beat": 9, "ended": true}'


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(MemoryMailbox())


def home(files: dict[str, bytes]) -> dict[str, str]:
    coded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return {HOME_FILE: json.dumps({"files": coded})}


async def take(inbox: Inbox, status: str, files: dict[str, bytes] | None = None, **more: Any) -> None:
    await inbox.take(JOB, {"status": status, **more}, home(files) if files else {})


async def state(inbox: Inbox) -> JobState:
    word = await inbox.last_word(JOB)
    assert word is not None
    return status_of(word).state


async def test_the_last_word_stands_whatever_comes_after_it(inbox: Inbox) -> None:
    await take(inbox, "running")
    assert await state(inbox) is JobState.RUNNING
    await take(inbox, "complete", {"heartbeat": ENDED, "result.json": b"{}"}, returncode=0)
    for late in ("running", "lost", "failed"):
        await take(inbox, late, {"result.json": b"another"})
    word = await inbox.last_word(JOB)
    assert word is not None and is_last(word) and status_of(word).state is JobState.ENDED
    assert await inbox.file(JOB, "result.json") == b"{}"
    assert await inbox.file(JOB, "heartbeat") == ENDED


async def test_two_words_are_never_the_same(inbox: Inbox) -> None:
    await take(inbox, "running")
    first = await inbox.last_word(JOB)
    await take(inbox, "running")
    assert await inbox.last_word(JOB) != first


async def test_a_word_that_is_none_means_that_the_job_waits(inbox: Inbox) -> None:
    """Pulsar's plugin for Slurm's commands has none for a suspended job."""
    await inbox.take(JOB, {"status": None}, {})
    assert await state(inbox) is JobState.WAITING
    await inbox.take("task-2", {}, {})
    assert await inbox.last_word("task-2") is None


async def test_a_job_that_could_not_be_submitted_says_so(inbox: Inbox) -> None:
    marks: dict[str, Any] = {
        "returncode": 1,
        "job_stderr": None,
        "job_directory_contents": ["preprocessing_failed"],
    }
    await take(inbox, "failed", **marks)
    word = await inbox.last_word(JOB)
    assert word is not None
    assert "could not submit the job" in status_of(word).detail
    await inbox.take("task-2", {"status": "complete", "returncode": None, "job_stderr": " a\nb "}, {})
    word = await inbox.last_word("task-2")
    assert word is not None
    assert status_of(word).detail == "Pulsar says complete: no exit code, a b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "None",
        "[]",
        '{"files": []}',
        '{"files": {"a": 1}}',
        '{"files": {"../x": ""}}',
        '{"files": {"a": "*"}}',
        '{"fil',
    ],
)
async def test_what_no_worker_writes_is_passed_over(inbox: Inbox, text: str) -> None:
    await inbox.take(JOB, {"status": "complete"}, {HOME_FILE: text})
    assert await state(inbox) is JobState.ENDED
    assert [await inbox.file(JOB, name) for name in ("a", "../x")] == [None, None]


async def test_a_status_that_nobody_knows_is_passed_over(inbox: Inbox) -> None:
    await take(inbox, "dancing", {"result.json": b"{}"})
    assert await inbox.last_word(JOB) is None


async def test_a_heartbeat_that_stands_still_is_asked_for_at_the_site(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    await inbox.mailbox.put(JOB, "events.ndjson", b"old")
    for beat in (b'{"beat": 1}', b'{"beat": 2}'):
        await inbox.mailbox.put(JOB, "heartbeat", beat)
        for _ in range(2):
            assert await inbox.file(JOB, "heartbeat") == beat
            now[0] += 14
    now[0] += 2
    assert await inbox.file(JOB, "heartbeat") is None
    assert await inbox.file(JOB, "events.ndjson") is None, "the site has newer"
    await inbox.mailbox.put(JOB, "heartbeat", ENDED)
    assert await inbox.file(JOB, "heartbeat") == ENDED
    now[0] += 100
    assert await inbox.file(JOB, "heartbeat") == ENDED


async def test_the_answer_of_another_servers_probe_is_found_once(inbox: Inbox) -> None:
    await inbox.leave_answer("tesp-probe-1", "[{}]")
    assert await inbox.find_answer("tesp-probe-1") == "[{}]"
    assert await inbox.find_answer("tesp-probe-1") is None


async def test_a_server_that_is_alone_keeps_no_answers() -> None:
    inbox = Inbox(MemoryMailbox(), alone=True)
    await inbox.leave_answer("tesp-probe-1", "[{}]")
    assert await inbox.mailbox.get("tesp-probe-1", ANSWER_FILE) is None
    assert await inbox.find_answer("tesp-probe-1") is None


async def test_an_answer_that_nobody_fetches_stays_for_minutes(inbox: Inbox) -> None:
    stays: list[timedelta | None] = []

    class Remembering(MemoryMailbox):
        async def put(self, job_id: str, name: str, data: bytes, stay: timedelta | None = None) -> None:
            stays.append(stay)

    await Inbox(Remembering()).leave_answer("tesp-probe-1", "[{}]")
    assert stays == [timedelta(minutes=15)]


async def test_a_file_of_which_a_part_never_came_is_read_at_the_site(inbox: Inbox) -> None:
    """The server died between two parts of a report, and the rest was too long for Pulsar's last word."""
    await inbox.mailbox.put(JOB, "result.json", b'{"version": 1, "exec')
    await inbox.mailbox.put(JOB, "events.ndjson", b'{"seq": 0}\n')
    beat = b'{"beat": 9, "events_bytes": 22, "ended": true}'
    await take(inbox, "complete", {"heartbeat": beat})
    assert await inbox.file(JOB, "heartbeat") == beat
    for name in ("result.json", "events.ndjson"):
        assert await inbox.file(JOB, name) is None
        assert await inbox.mailbox.get(JOB, name) is None, "it is of no use any more"


async def test_a_file_that_was_reported_whole_needs_no_probe(inbox: Inbox) -> None:
    await inbox.mailbox.put(JOB, "result.json", b'{"version": 1}')
    await inbox.mailbox.put(JOB, "events.ndjson", b'{"seq": 0}\n{"seq": 1}\n')
    await take(inbox, "complete", {"heartbeat": b'{"beat": 9, "events_bytes": 22, "ended": true}'})
    assert await inbox.file(JOB, "result.json") == b'{"version": 1}'
    assert await inbox.file(JOB, "events.ndjson") == b'{"seq": 0}\n{"seq": 1}\n'


async def test_a_heartbeat_that_is_none_counts_as_absent(inbox: Inbox) -> None:
    await inbox.mailbox.put(JOB, "heartbeat", b'{"beat": 9, "ev')
    assert await inbox.file(JOB, "heartbeat") is None
