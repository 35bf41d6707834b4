"""Probes cost the site jobs: what can wait goes together, what cannot does not wait for it."""

import asyncio
import json
from typing import Any

import pytest

from tesp_api.pulsar import amqp_probe
from tesp_api.pulsar.amqp_probe import Prober


class Site:
    """Runs every errand at once, and remembers each probe's."""

    def __init__(self) -> None:
        self.probes: list[list[str]] = []
        self.prober = Prober(self.submit, self.find)

    async def submit(self, job_id: str, errands: str) -> None:
        asked = json.loads(errands)
        self.probes.append([errand["job"] for errand in asked])
        answers: list[dict[str, Any]] = [
            {"gone": True} if errand["do"] == "remove" else {"files": {}} for errand in asked
        ]
        asyncio.get_running_loop().call_soon(self.prober.answered, job_id, json.dumps(answers))

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


async def test_who_reads_does_not_wait_for_removals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_probe, "_REMOVALS_WAIT_S", 60)
    site = Site()
    removal = asyncio.create_task(site.prober.run({"do": "remove", "job": "over"}))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await site.prober.run({"do": "read", "job": "running", "names": []})
        await removal
    assert site.probes == [["over", "running"]]
