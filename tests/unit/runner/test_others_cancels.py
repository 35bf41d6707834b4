"""A cancel that another server was asked for, of a task that this one drives: no bell rings for it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import StoreUnavailable
from tesp_api.runner import others_cancels
from tesp_api.runner.others_cancels import ring_for_cancels
from tesp_api.tes.states import State
from tests.unit.runner.attempts import TIMING, running, until_true

PATIENT = {"lease_s": 300, "heartbeat_s": 10, "lost_after_s": 60, "cancel_grace_s": 30}
SHARED: dict[str, Any] = {"scheduler": TIMING | PATIENT, "store": {"url": "mongodb://db"}}


async def test_the_worker_is_told_long_before_the_lease_is_renewed(tmp_path: Path) -> None:
    async with running(tmp_path, **SHARED) as sites:
        task_id = await sites.submit()
        worker = await sites.worker(task_id)
        worker.start()
        await sites.in_state(task_id, State.INITIALIZING)
        began_at = time.monotonic()
        await sites.store.request_cancel(task_id, "asked for elsewhere")

        async def told() -> bool:
            return "cancel" in worker.pulsar.jobs[worker.job_id].files

        await until_true(told)
        assert time.monotonic() - began_at < 5
        worker.finish("CANCELED")
        assert (await sites.ended(task_id)).state is State.CANCELED


async def test_each_is_told_of_once_and_an_outage_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[set[str] | Exception] = [
        {"a"},
        StoreUnavailable("away"),
        RuntimeError("a fault of our own"),
        {"a", "b"},
        {"b"},
        {"a", "b"},
    ]

    class Store:
        async def list_canceling(self, owner: str) -> frozenset[str]:
            assert owner == "me"
            if not answers:
                await asyncio.Event().wait()
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return frozenset(answer)

    monkeypatch.setattr(others_cancels, "LOOK_S", 0.0)
    rung: list[str] = []
    looking = asyncio.create_task(ring_for_cancels(Store(), "me", rung.append))  # type: ignore[arg-type]

    async def asked() -> bool:
        return not answers

    await until_true(asked)
    looking.cancel()
    assert rung == ["a", "b", "a"]
