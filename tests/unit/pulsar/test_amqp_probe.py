"""Probes cost the site jobs: what can wait goes together, what cannot does not wait for it."""

import asyncio
import base64
import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar import amqp_probe
from tesp_api.pulsar.amqp_files import FilesByProbe
from tesp_api.pulsar.amqp_probe import PAUSE_MIN_S, Prober, files_of

READ = {"do": "read", "job": "job-1", "names": []}
LOG = "logs/0.stdout.000000"


class Site:
    """Runs every errand at once, and remembers each probe's."""

    def __init__(self, answers_after_s: float = 0.0) -> None:
        self._answers_after_s = answers_after_s
        self.probes: list[list[str]] = []
        self.prober = Prober(self.submit, self.find)

    async def submit(self, job_id: str, errands: str) -> None:
        asked = json.loads(errands)
        self.probes.append([errand["job"] for errand in asked])
        answers: list[dict[str, Any]] = [
            {"gone": True} if errand["do"] == "remove" else {"files": {}} for errand in asked
        ]
        said = json.dumps(answers)
        asyncio.get_running_loop().call_later(self._answers_after_s, self.prober.answered, job_id, said)

    async def find(self, job_id: str) -> str | None:
        return None


async def test_removals_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_probe, "_REMOVALS_WAIT_S", 0.5)
    site = Site()

    async def remove_later(number: int) -> None:
        await asyncio.sleep(0.02 * number)
        assert await site.prober.run({"do": "remove", "job": f"job-{number}"}) == {"gone": True}

    await asyncio.gather(*map(remove_later, range(5)))
    assert site.probes == [[f"job-{number}" for number in range(5)]]


async def test_removals_take_a_small_part_of_a_sites_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be one slot for all: the next ones wait ten times as long as the last probe took."""
    monkeypatch.setattr(amqp_probe, "_REMOVALS_WAIT_S", 0.0)
    site = Site(answers_after_s=0.1)
    await site.prober.run({"do": "remove", "job": "job-1"})
    second = asyncio.create_task(site.prober.run({"do": "remove", "job": "job-2"}))
    await asyncio.sleep(0.3)
    await site.prober.run({"do": "remove", "job": "job-3"})
    await second
    assert [[job for job in probe if "probe" not in job] for probe in site.probes] == [
        ["job-1"],
        ["job-2", "job-3"],
    ]


async def test_who_reads_does_not_wait_for_removals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_probe, "_REMOVALS_WAIT_S", 60)
    site = Site()
    removal = asyncio.create_task(site.prober.run({"do": "remove", "job": "over"}))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await site.prober.run({"do": "read", "job": "running", "names": []})
        await removal
    assert site.probes == [["over", "running"]]


class BusySite:
    """Has no slot for a probe: an answer comes when the test gives it, or another server hears it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(amqp_probe, "ANSWER_TIMEOUT_S", 0.02)
        self.now = 1000.0
        monkeypatch.setattr(amqp_probe, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.heard_elsewhere: dict[str, str] = {}
        self.looked_for: list[str] = []
        self.prober = Prober(self.submit, self.find)

    async def submit(self, job_id: str, errands: str) -> None:
        self.sent[job_id] = json.loads(errands)

    async def find(self, job_id: str) -> str | None:
        self.looked_for.append(job_id)
        return self.heard_elsewhere.pop(job_id, None)

    async def read_in_vain(self) -> None:
        with pytest.raises(PulsarUnavailable):
            await self.prober.run(READ)


def answer(**files: bytes) -> str:
    return json.dumps([{"files": {name: base64.b64encode(data).decode() for name, data in files.items()}}])


async def test_probes_do_not_pile_up_where_none_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    site = BusySite(monkeypatch)
    sent_at = []
    for _ in range(3600):  # somebody asks every second
        before = len(site.sent)
        await site.read_in_vain()
        sent_at += [site.now] * (len(site.sent) - before)
        site.now += 1
    pauses = [later - earlier for earlier, later in itertools.pairwise(sent_at)]
    assert pauses[:4] == [PAUSE_MIN_S, 2 * PAUSE_MIN_S, 4 * PAUSE_MIN_S, 8 * PAUSE_MIN_S]
    assert len(sent_at) < 20


async def test_an_answer_that_comes_late_ends_the_pause_and_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    site = BusySite(monkeypatch)
    late: list[Any] = []
    site.prober.late = lambda *what: late.append(what)
    await site.read_in_vain()
    (first,) = site.sent
    await site.read_in_vain()
    assert len(site.sent) == 1
    sent_at, site.now = site.now, site.now + 1
    assert site.prober.heard_of < sent_at
    assert site.prober.answered(first, answer(heartbeat=b"{}"))
    assert [files_of(brought) for _, brought in late] == [{"heartbeat": b"{}"}]
    assert site.prober.heard_of == sent_at
    await site.read_in_vain()
    second = list(site.sent.values())[1]
    assert {"do": "remove", "job": first} in second, "its directory is removed by the next one"
    assert site.prober.answered(first, answer(heartbeat=b"{}")), "Pulsar repeats its last word"
    assert len(late) == 1


async def test_an_answer_that_another_server_heard_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    site = BusySite(monkeypatch)
    await site.read_in_vain()
    (first,) = site.sent
    site.heard_elsewhere[first] = answer()
    site.now += amqp_probe._FIND_LATE_EVERY_S
    await site.read_in_vain()
    assert len(site.sent) == 2
    site.now += amqp_probe.LATE_S
    site.looked_for.clear()
    await site.read_in_vain()
    assert first not in site.looked_for, "it has been found"
    assert list(site.sent)[1] not in site.looked_for, "nothing is left of one so old"


async def test_logs_that_come_late_do_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    site = BusySite(monkeypatch)
    files = FilesByProbe(site.prober)
    with pytest.raises(PulsarUnavailable):
        await files.read("job-1", "heartbeat")
    (first,) = site.sent
    site.prober.answered(first, answer(**{LOG: b"said", "heartbeat": b"old"}))

    async def give(job_id: str, errands: str) -> None:
        site.sent[job_id] = json.loads(errands)
        asyncio.get_running_loop().call_soon(site.prober.answered, job_id, answer(heartbeat=b"new"))

    site.prober.submit = give
    assert await files.read("job-1", "heartbeat") == b"new"
    assert list(site.sent.values())[1][0]["known"] == {LOG: 4}
    assert await files.read("job-1", LOG) == b"said"
    assert len(site.sent) == 2


async def test_what_comes_for_a_caller_that_has_left_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    site = BusySite(monkeypatch)
    monkeypatch.setattr(amqp_probe, "ANSWER_TIMEOUT_S", 60)
    late: list[Any] = []
    site.prober.late = lambda *what: late.append(what)
    asked = asyncio.create_task(site.prober.run(READ))
    while not site.sent:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    asked.cancel()
    (sent,) = site.sent
    site.prober.answered(sent, answer(heartbeat=b"{}"))
    async with asyncio.timeout(3):
        while not late:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


@pytest.mark.parametrize("wrong", ["", "no JSON", "null", "{}", "[]", "[1]", '[{"files": {}}]'])
async def test_a_wrong_answer_leaves_nobody_waiting(wrong: str) -> None:
    site = Site()
    right = site.submit

    async def answer_wrongly(job_id: str, errands: str) -> None:
        asyncio.get_running_loop().call_soon(site.prober.answered, job_id, wrong)

    site.prober.submit = answer_wrongly
    async with asyncio.timeout(10):
        asked = (site.prober.run(READ) for _ in range(2))
        assert {type(what) for what in await asyncio.gather(*asked, return_exceptions=True)} == {
            PulsarUnavailable
        }
        assert site.prober.heard_of < 0, "the site may have carried nothing out"
        site.prober.submit = right
        assert await site.prober.run(READ) == {"files": {}}


@pytest.mark.parametrize("files", [1, [], {"a": 1}, {"a": "*"}])
def test_what_are_no_files_is_an_outage(files: Any) -> None:
    with pytest.raises(PulsarUnavailable):
        files_of({"files": files})


async def test_whatever_ends_the_probes_nobody_is_left_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()

    async def break_down(_: Prober) -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(10):
        with monkeypatch.context() as broken:
            broken.setattr(Prober, "_gather_removals", break_down)
            with pytest.raises(PulsarUnavailable):
                await site.prober.run(READ)
        assert await site.prober.run(READ) == {"files": {}}


async def test_who_waits_at_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    site = BusySite(monkeypatch)
    monkeypatch.setattr(amqp_probe, "ANSWER_TIMEOUT_S", 60)
    asked = [asyncio.create_task(site.prober.run(READ)) for _ in range(2)]
    while not site.sent:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    asked.append(asyncio.create_task(site.prober.run(READ)))
    await asyncio.sleep(0)
    await site.prober.aclose()
    for task in asked:
        with pytest.raises(PulsarUnavailable):
            await task
