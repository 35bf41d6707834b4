"""A tiny workflow engine in this process: its workflows are lists of commands, as JSON.

    {"steps": [{"name": "a", "command": ["sh", "-c", "..."], "after": ["b"], "scatter": 3,
                "inputs": {"/in/x": "b/x"}, "outputs": {"/out/x": "a/x"}}],
     "outputs": {"result": "a/x"}}

Inputs are outputs of earlier steps, `attachments/NAME`, or, with a dollar before it, a param. Paths of
outputs are beneath the run's work_url. A step that is scattered becomes `a 0`, `a 1`, ..., with `%` in its
words and outputs replaced by the number. `later` are the commands of further attempts at a step.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tesp_api.errors import EngineDied
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome, EngineRun, RunHost, Step, StepEnd


class ScriptEngine:
    """A `WorkflowEngine`; `expansions` counts how often each run was expanded."""

    name = "script"
    workflow_types: Mapping[str, Sequence[str]] = MappingProxyType({"SCRIPT": ("v1", "v1.1")})
    parameters: Mapping[str, str] = MappingProxyType({"mood": "calm"})

    def __init__(self, *, installed: str | None = "1.0", image: str = "busybox:latest") -> None:
        self.installed = installed
        self.image = image
        self.expansions: dict[str, int] = {}
        self.looks = 0
        """How often it was asked whether it can be used: each time that runs are looked for."""
        self.raises: list[Exception] = []
        """What the next expansions raise."""
        self.died_at: set[str] | None = None
        """The steps at which it has died; where there is a set, it dies once at each."""

    async def open(self) -> None:
        """Nothing takes time."""

    async def aclose(self) -> None:
        """Nothing was made ready."""

    async def version(self) -> str | None:
        return self.installed

    @property
    def fault(self) -> str:
        self.looks += 1
        return "" if self.installed else "the engine script is not installed on this server"

    async def execute(self, run: EngineRun, host: RunHost) -> EngineOutcome:
        self.expansions[run.id] = self.expansions.get(run.id, 0) + 1
        if self.raises:
            raise self.raises.pop(0)
        script = json.loads((run.attachments / run.workflow_url.partition("#")[0]).read_text())
        await host.log("stderr", f"expanding {run.workflow_url}\n".encode())
        return await _Expansion(run, host, script, self.image, self.died_at).outcome()


class _Expansion:
    def __init__(
        self, run: EngineRun, host: RunHost, script: Mapping[str, Any], image: str, died_at: set[str] | None
    ) -> None:
        self._died_at = died_at
        self._run = run
        self._host = host
        self._script = script
        self._image = image
        self._places: dict[str, str] = {}
        """Where outputs are, by what the script calls them."""

    async def outcome(self) -> EngineOutcome:
        steps = {step["name"]: step for step in _scattered(self._script["steps"])}
        running: dict[str, asyncio.Task[StepEnd]] = {}
        for name, step in steps.items():
            before = [running[other] for other in running if other.split(" ")[0] in step.get("after", ())]
            running[name] = asyncio.create_task(self._perform(name, step, before))
        try:
            await asyncio.wait(running.values()) if running else None
        finally:
            for task in running.values():
                task.cancel()
        for name, task in running.items():
            if (end := task.result()).state is not State.COMPLETE:
                reason = f"step {name} ended {end.state} (task {end.task_id})"
                if end.state is State.EXECUTOR_ERROR:
                    return EngineOutcome(State.EXECUTOR_ERROR, 1, self._outputs(), reason)
                return EngineOutcome(State.SYSTEM_ERROR, 2, self._outputs(), reason)
        return EngineOutcome(State.COMPLETE, 0, self._outputs())

    async def _perform(
        self, name: str, step: Mapping[str, Any], before: Sequence["asyncio.Task[StepEnd]"]
    ) -> StepEnd:
        for other in before:
            end = await asyncio.shield(other)
            if end.state is not State.COMPLETE:
                return end
        document = self._document(step)
        later = [_key(name, command) for command in step.get("later", ())]
        codes = step.get("success_codes", [0])
        task_id = await self._host.submit(Step(_key(name, step["command"]), name, document, codes, later))
        if self._died_at is not None and name not in self._died_at:
            self._died_at.add(name)
            raise EngineDied(f"killed at {name}")
        end = await self._host.wait(task_id)
        made = end.document.get("outputs", ())
        self._places |= {
            called: output["url"]
            for called, output in zip(step.get("outputs", {}).values(), made, strict=False)
        }
        await self._host.log("stderr", f"{name}: {end.state}\n".encode())
        return end

    def _document(self, step: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "executors": [{"image": step.get("image", self._image), "command": step["command"]}],
            "inputs": [
                {"path": path, "url": self._url_of(called)} for path, called in step.get("inputs", {}).items()
            ],
            "outputs": [
                {"path": path, "url": f"{self._run.work_url}{called}"}
                for path, called in step.get("outputs", {}).items()
            ],
        }

    def _url_of(self, called: str) -> str:
        if called.startswith("$"):
            value = self._run.workflow_params[called[1:]]
            url = str(value["location"] if isinstance(value, dict) else value)
            return url if "://" in url else f"{self._run.work_url}attachments/{url}"
        return self._places.get(called, f"{self._run.work_url}{called}")

    def _outputs(self) -> dict[str, Any]:
        return {
            name: {"class": "File", "location": self._places[called], "basename": called.rpartition("/")[2]}
            for name, called in self._script.get("outputs", {}).items()
            if called in self._places
        }


def _key(name: str, command: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([name, command]).encode()).hexdigest()


def _scattered(steps: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for step in steps:
        if "scatter" not in step:
            yield step
        for number in range(step.get("scatter", 0)):
            text = json.dumps({**step, "name": f"{step['name']} {number}"}).replace("%", str(number))
            yield json.loads(text)
