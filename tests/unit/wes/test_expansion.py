"""How an expander is served until its last word, or until there seems to come none."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineRun, StepEnd
from tesp_api.wes.engines.expansion import expand
from tests.fakes.run_host import FakeRunHost
from tests.services.plain_run_host import engine_run

SILENCE_S = 0.3


class Process:
    """Says what it is given, and its last word once a step was answered."""

    def __init__(self, *says: Mapping[str, Any]) -> None:
        self._says = list(says)
        self._answered = asyncio.Event()

    async def send(self, message: Mapping[str, Any]) -> None:
        if "id" in message:
            self._answered.set()

    async def receive(self) -> Mapping[str, Any]:
        if self._says:
            return self._says.pop(0)
        await self._answered.wait()
        return {"call": "end", "status": "success", "outputs": {}}

    async def aclose(self) -> None:
        """There is nothing to end."""


@pytest.fixture
def run(tmp_path: Path) -> EngineRun:
    return engine_run(tmp_path / "run-1", "Snakefile", {})


async def test_a_silent_expander_is_not_waited_for(run: EngineRun, tmp_path: Path) -> None:
    host = FakeRunHost(run, Settings(data_dir=tmp_path / "data"))
    process: Any = Process({"call": "log", "name": "stderr", "text": "hello"})
    outcome = await asyncio.wait_for(expand(process, run, host, {}, silence_s=SILENCE_S), 20)
    assert (outcome.state, outcome.exit_code) == (State.SYSTEM_ERROR, None)
    assert "its engine said nothing for 0.3 seconds (wes.engine_silence_s)" in outcome.reason
    assert host.logs["stderr"] == b"hello"


async def test_one_that_waits_for_a_step_may_be_silent(
    run: EngineRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = FakeRunHost(run, Settings(data_dir=tmp_path / "data"))

    async def slowly(_: str) -> StepEnd:
        await asyncio.sleep(3 * SILENCE_S)
        return StepEnd("task-1", State.COMPLETE, {})

    monkeypatch.setattr(host, "wait", slowly)
    step = {"id": 1, "call": "run_step", "key": "k", "name": "n", "document": {}, "success_codes": [0]}
    process: Any = Process(step)
    outcome = await asyncio.wait_for(expand(process, run, host, {}, silence_s=SILENCE_S), 20)
    assert outcome.state is State.COMPLETE
    assert [one.name for one in host.steps] == ["n"]
