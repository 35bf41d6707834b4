"""What the gateway tells of its transfers is stored, also what comes at the very end."""

import asyncio
import json
from pathlib import Path

import pytest

from tesp_api.runner import gateway_events
from tesp_api.runner.gateway_events import GatewayEvents
from tesp_api.store.base import Claim, Stream
from tesp_api.store.sqlite import SqliteTaskStore
from tests.factories import make_task


class SlowStore(SqliteTaskStore):
    """Takes its time to store a piece of a log."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_storing = asyncio.Event()

    async def append_log(
        self, claim: Claim, attempt: int, executor: int, stream: Stream, offset: int, data: bytes
    ) -> None:
        self.is_storing.set()
        await asyncio.sleep(0.1)
        await super().append_log(claim, attempt, executor, stream, offset, data)


async def test_what_is_being_stored_at_the_end_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_events, "_EVERY_S", 0.01)
    store = SlowStore(tmp_path)
    await store.open()
    task_id = await store.create(make_task())
    (claimed,) = await store.claim("server", lease_s=60, new_limit=1)
    assert claimed.claim
    events = GatewayEvents(store, claimed.claim, 1)
    async with events.telling():
        events._tell("transfer", number=1)
        await store.is_storing.wait()
        events._tell("transfer", number=2)
    kept = await store.read_log(task_id, 1, 0, "gateway", offset=0, limit=2**20)
    assert [json.loads(line)["number"] for line in kept.data.splitlines()] == [1, 2]
    await store.aclose()
