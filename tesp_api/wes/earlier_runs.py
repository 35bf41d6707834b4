"""Outputs of earlier runs as inputs of a new one: `run://RUN/OUTPUT` in workflow_params.

A File or Directory object whose location says so becomes that output; anywhere else the output's value takes
its place. Behind the output's name there may be the place of an item of a list: `run://RUN/OUTPUT/0`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tesp_api.errors import Fault, InvalidRequest, RunNotFound
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run

SCHEME = "run://"

FindRun = Callable[[str], Awaitable[Run]]
"""The run with an id, as the caller sees it; raises `RunNotFound`."""

_PLACES = ("location", "path")


async def with_earlier_outputs(
    params: Mapping[str, Any], find: FindRun
) -> tuple[Mapping[str, Any], list[str]]:
    """The params with all `run://` replaced, and the ids of the runs that they named.

    Raises:
        InvalidRequest: names each that cannot be had, and why.
    """
    reader = _Reader(find)
    replaced = await reader.replaced(params, "workflow_params")
    if reader.faults:
        raise InvalidRequest(reader.faults)
    return replaced, sorted(reader.runs)


class _Reader:
    def __init__(self, find: FindRun) -> None:
        self._find = find
        self.runs: dict[str, Run] = {}
        self.faults: list[Fault] = []

    async def replaced(self, value: Any, at: str) -> Any:
        if isinstance(value, str):
            return await self._output(value, at) if value.startswith(SCHEME) else value
        if isinstance(value, list):
            return [await self.replaced(item, f"{at}[{number}]") for number, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        for place in _PLACES:
            text = value.get(place)
            if "class" in value and isinstance(text, str) and text.startswith(SCHEME):
                return await self._file(value, place, at)
        return {key: await self.replaced(item, f"{at}.{key}") for key, item in value.items()}

    async def _file(self, value: Mapping[str, Any], place: str, at: str) -> Any:
        found = await self._output(value[place], f"{at}.{place}")
        if found is None:
            return None
        if not isinstance(found, dict) or found.get("class") != value["class"]:
            self.faults.append(Fault(f"{at}.{place}", f"that output is no {value['class']}"))
            return None
        return {**found, **{key: item for key, item in value.items() if key not in _PLACES}}

    async def _output(self, url: str, at: str) -> Any:
        """The value of an output; None, with a fault, if it cannot be had."""
        run_id, _, path = url.removeprefix(SCHEME).partition("/")
        name, _, rest = path.partition("/")
        try:
            run = self.runs.get(run_id) or await self._find(run_id)
        except RunNotFound as error:
            self.faults.append(Fault(at, str(error)))
            return None
        self.runs[run_id] = run
        if run.state not in RUN_FINAL:
            self.faults.append(Fault(at, f"run {run_id} is {run.state}: wait for its end"))
            return None
        if name not in run.outputs:
            there = ", ".join(run.outputs) or "none"
            self.faults.append(Fault(at, f"run {run_id} has no output {name[:80]!r} (there are: {there})"))
            return None
        value = run.outputs[name]
        for part in filter(None, rest.split("/")):
            if not (isinstance(value, list) and part.isdecimal() and int(part) < len(value)):
                self.faults.append(Fault(at, f"output {name[:80]!r} has no item {part[:40]!r}"))
                return None
            value = value[int(part)]
        return value
