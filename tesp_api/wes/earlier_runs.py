"""Outputs of earlier runs as inputs of a new one: `run://RUN/OUTPUT` in workflow_params.

A File or Directory object whose location says so becomes that output; anywhere else the output's value takes
its place. Behind the output's name there may be the place of an item of a list, `run://RUN/OUTPUT/0`, or the
name of what a Directory lists, `run://RUN/OUTPUT/report.txt`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from tesp_api.errors import Fault, InvalidRequest, RunNotFound
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run
from tesp_api.wes.views import outputs_fault

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
    named = await asyncio.to_thread(lambda: {_run_of(url) for url in _urls_in(params)})
    found: dict[str, Run] = {}
    missing: dict[str, str] = {}
    for run_id in named:
        try:
            found[run_id] = await find(run_id)
        except RunNotFound as error:
            missing[run_id] = str(error)
    reader = _Reader(found, missing)
    replaced = await asyncio.to_thread(reader.replaced, params, "workflow_params")
    if reader.faults:
        raise InvalidRequest(reader.faults)
    return replaced, sorted(reader.used)


def _urls_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith(SCHEME):
            yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _urls_in(item)


def _run_of(url: str) -> str:
    return url.removeprefix(SCHEME).partition("/")[0]


class _Reader:
    def __init__(self, runs: Mapping[str, Run], missing: Mapping[str, str]) -> None:
        """`missing` says of other runs why they are not there."""
        self._runs = runs
        self._missing = missing
        self.used: set[str] = set()
        self.faults: list[Fault] = []

    def replaced(self, value: Any, at: str) -> Any:
        if isinstance(value, str):
            return self._output(value, at) if value.startswith(SCHEME) else value
        if isinstance(value, list):
            return [self.replaced(item, f"{at}[{number}]") for number, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        for place in _PLACES:
            text = value.get(place)
            if "class" in value and isinstance(text, str) and text.startswith(SCHEME):
                return self._file(value, place, at)
        return {key: self.replaced(item, f"{at}.{key}") for key, item in value.items()}

    def _file(self, value: Mapping[str, Any], place: str, at: str) -> Any:
        found = self._output(value[place], f"{at}.{place}")
        if found is None:
            return None
        if not isinstance(found, dict) or found.get("class") != value["class"]:
            self.faults.append(Fault(f"{at}.{place}", f"that output is no {value['class']}"))
            return None
        return {**found, **{key: item for key, item in value.items() if key not in _PLACES}}

    def _output(self, url: str, at: str) -> Any:
        """The value of an output; None, with a fault, if it cannot be had."""
        run_id, _, path = url.removeprefix(SCHEME).partition("/")
        name, _, rest = path.partition("/")
        if run_id in self._missing:
            self.faults.append(Fault(at, self._missing[run_id]))
            return None
        run = self._runs[run_id]
        self.used.add(run_id)
        if run.state not in RUN_FINAL:
            self.faults.append(Fault(at, f"run {run_id} is {run.state}: wait for its end"))
            return None
        if untold := outputs_fault(run.outputs):
            self.faults.append(Fault(at, f"run {run_id}: {untold}"))
            return None
        if name not in run.outputs:
            there = ", ".join(run.outputs) or "none"
            self.faults.append(Fault(at, f"run {run_id} has no output {name[:80]!r} (there are: {there})"))
            return None
        value = run.outputs[name]
        for part in filter(None, rest.split("/")):
            try:
                value = _item(value, part)
            except LookupError:
                self.faults.append(Fault(at, f"output {name[:80]!r} has no item {part[:40]!r}"))
                return None
        return value


def _item(value: Any, part: str) -> Any:
    """An item of a list, or of what a Directory lists. Raises: LookupError if there is none."""
    if isinstance(value, list) and part.isdecimal():
        return value[int(part)]
    listing = value.get("listing") if isinstance(value, dict) else None
    named = {one.get("basename"): one for one in listing or () if isinstance(one, dict)}
    return named[part]
