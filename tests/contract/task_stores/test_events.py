"""The copy of a worker's events in a store: each stored once, whoever drives the task, and gone with it."""

import json

import pytest

from tesp_api.runner.event_copy import MOST_BYTES, EventCopy
from tesp_api.store.base import Claim, Stream, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver
from tests.factories import make_task


def lines(count: int, text: str = "") -> bytes:
    return b"".join(json.dumps({"seq": seq, "text": text}).encode() + b"\n" for seq in range(count))


async def stored(store: TaskStore, task_id: str, stream: Stream = "events") -> bytes:
    return (await store.read_log(task_id, 1, 0, stream, offset=0, limit=8 * MOST_BYTES)).data


@pytest.fixture
async def claim(runner: Driver) -> Claim:
    return await runner.take(make_task())


async def test_what_is_new_is_stored_and_no_log_has_it(store: TaskStore, claim: Claim) -> None:
    copy = EventCopy(store, claim, 1)
    for count in (0, 1, 1, 5):
        copy.take(lines(count))
        await copy.keep(at_once=True)
        assert await stored(store, claim.task_id) == lines(count)
    assert await stored(store, claim.task_id, "stdout") == b""


async def test_a_driver_after_a_restart_neither_loses_nor_doubles_any(store: TaskStore, claim: Claim) -> None:
    for count in (2, 2, 7):
        copy = EventCopy(store, claim, 1)
        copy.take(lines(count))
        await copy.keep(at_once=True)
        assert await stored(store, claim.task_id) == lines(count)


async def test_a_line_that_is_being_written_waits(store: TaskStore, claim: Claim) -> None:
    copy = EventCopy(store, claim, 1)
    copy.take(lines(3)[:-4])
    await copy.keep(at_once=True)
    assert await stored(store, claim.task_id) == lines(2)


async def test_events_in_quick_succession_are_stored_together(store: TaskStore, claim: Claim) -> None:
    clock = [100.0]
    copy = EventCopy(store, claim, 1, clock=lambda: clock[0])
    for clock[0], count, seen in ((100.1, 1, 0), (100.4, 2, 0), (100.6, 3, 3), (100.7, 4, 3), (101.2, 4, 4)):
        copy.take(lines(count))
        await copy.keep()
        assert await stored(store, claim.task_id) == lines(seen)


async def test_events_without_end_are_cut_at_a_line(store: TaskStore, claim: Claim) -> None:
    many = lines(3000, "x" * 1000)
    copy = EventCopy(store, claim, 1)
    for part in (many[: MOST_BYTES // 2], many, many + many):
        copy.take(part)
        await copy.keep(at_once=True)
    kept = await stored(store, claim.task_id)
    assert many.startswith(kept)
    assert kept.endswith(b"\n")
    assert MOST_BYTES - 1100 < len(kept) <= MOST_BYTES


async def test_they_go_with_their_task(store: TaskStore, runner: Driver) -> None:
    claim = await runner.take(make_task())
    copy = EventCopy(store, claim, 1)
    copy.take(lines(9))
    await copy.keep(at_once=True)
    await store.transition(claim.task_id, State.CANCELED, claim=claim, reason="over")
    await store.retire(claim)
    await store.delete(claim.task_id)
    assert await stored(store, claim.task_id) == b""
