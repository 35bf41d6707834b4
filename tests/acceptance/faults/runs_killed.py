"""Workflow runs whose expander, server or Pulsar is killed at some moment: twelve steps at once, then one.

Each step notes by itself that it has begun, at a web server that nobody kills: that none runs twice is not
left to the server to say.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import psutil  # type: ignore[import-untyped]

from tesp_api.wes.engines.sandbox import INSIDE
from tests.acceptance.faults.scenario import ANY_PHASE, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import World, WorldKind
from tests.services.cwl_engine import engines_folder
from tests.services.tesp import FINAL, poll

FAULTS = ()
"""None in the matrix, whose phases are those of a task."""
MOMENTS, MOMENTS_OF_PULSAR = 30, 10
WORDS = [f"w{number}" for number in range(12)]
END_WITHIN_S = 240.0
_BEFORE_STEPS_S, _BETWEEN_STEPS_S = 3.0, 0.7
"""How long is waited at most for a moment: a run needs a few seconds to come to its first steps."""
_WES, _TESP = "/ga4gh/wes/v1", "/tesp/v1"


class _EngineSettings:
    """Where the engine is, which is made when that is first asked for; and steps reach the web server."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield "TESP_API_WES__ENGINES_DIR", str(engines_folder())
        yield "TESP_API_DESTINATIONS__LOCAL__NETWORK", "host"


EMBEDDED = WorldKind("sqlite", "embedded", settings=_EngineSettings())
REST = WorldKind("sqlite", "rest", settings=_EngineSettings())

_NOTE = 'curl -sf -X PUT -d x "$0/marks/$1/`cat /proc/sys/kernel/random/uuid`" || exit 9; '
_STEP: dict[str, Any] = {
    "class": "CommandLineTool",
    "cwlVersion": "v1.2",
    "inputs": {"web": "string", "word": "string"},
    "outputs": {"said": "stdout"},
    "arguments": ["sh", "-c", f'{_NOTE}sleep 0.3; echo "said by $1"', "$(inputs.web)", "$(inputs.word)"],
}
_GATHER: dict[str, Any] = _STEP | {
    "inputs": {"web": "string", "files": "File[]"},
    "outputs": {"all": "stdout"},
    "arguments": [
        *("sh", "-c", f'{_NOTE}shift; cat "$@"', "$(inputs.web)", "gather"),
        {"valueFrom": "$(inputs.files)"},
    ],
}
_FLOW: dict[str, Any] = {
    "class": "Workflow",
    "cwlVersion": "v1.2",
    "requirements": {"ScatterFeatureRequirement": {}},
    "inputs": {"web": "string", "words": "string[]"},
    "outputs": {"all": {"type": "File", "outputSource": "gather/all"}},
    "steps": {
        "say": {
            "run": _STEP,
            "scatter": "word",
            "in": {"web": "web", "word": "words"},
            "out": ["said"],
        },
        "gather": {"run": _GATHER, "in": {"web": "web", "files": "say/said"}, "out": ["all"]},
    },
}


def scenarios() -> Iterator[Scenario]:
    for victim, kill in _KILLS.items():
        kind, moments = (REST, MOMENTS_OF_PULSAR) if victim == "Pulsar" else (EMBEDDED, MOMENTS)
        for moment in range(moments):
            run = partial(_drill, kill, moment, moments)
            yield Scenario(f"workflow: {victim} killed", ANY_PHASE, kind, run, f"moment {moment}")


def absences() -> Iterator[Absence]:
    yield from ()


def _kill_expanders(world: World) -> None:
    """The one that is kept ready, too."""
    process = world.server.process
    assert process is not None
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if str(INSIDE) in child.cmdline():
                    child.kill()


def _kill_server(world: World) -> None:
    world.server.kill()
    world.server.start()


def _kill_both(world: World) -> None:
    _kill_expanders(world)
    _kill_server(world)


def _kill_pulsar(world: World) -> None:
    world.pulsar.kill()
    world.pulsar.start()


_KILLS: Mapping[str, Callable[[World], None]] = {
    "expander": _kill_expanders,
    "server": _kill_server,
    "expander and server": _kill_both,
    "Pulsar": _kill_pulsar,
}


@dataclass(frozen=True, slots=True)
class _Run:
    """`label` is a part of the paths where its steps note that they have begun."""

    id: str
    label: str


def _drill(kill: Callable[[World], None], moment: int, moments: int, stage: Stage) -> None:
    """Kill a moment after so many steps have begun, and see what becomes of the run.

    How fast a run gets on depends on what else the machine does; so moments are told by its steps.
    """
    world = stage.world
    run = _submit(world, stage.random)
    steps = (len(WORDS) + 1) * moment // moments
    why = f"run {run.id} does not come to {steps} steps"
    poll(lambda: len(_begun(world, run)) >= steps, timeout_s=END_WITHIN_S, why=why)
    time.sleep(stage.random.uniform(0, _BEFORE_STEPS_S if steps == 0 else _BETWEEN_STEPS_S))
    state, begun = _state(world, run), len(_begun(world, run))
    kill(world)
    _await_end(world, run)
    _check(world, run)
    stage.note = f"{state}, {begun} steps had begun"


def _submit(world: World, random: Random) -> _Run:
    label = random.randbytes(6).hex()
    fields = {
        "workflow_type": "CWL",
        "workflow_type_version": "v1.2",
        "workflow_url": "flow.cwl",
        "workflow_params": json.dumps({"web": f"{world.web.url}/{label}", "words": WORDS}),
    }
    files = [("workflow_attachment", ("flow.cwl", json.dumps(_FLOW).encode()))]
    answer = world.server.client.post(f"{_WES}/runs", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    return _Run(answer.json()["run_id"], label)


def _state(world: World, run: _Run) -> str:
    return str(world.server.client.get(f"{_WES}/runs/{run.id}/status").json()["state"])


def _begun(world: World, run: _Run) -> list[str]:
    """The steps that have begun, each as often as it has."""
    paths = (path.split("/") for path in world.web.puts)
    return [parts[3] for parts in paths if parts[1:3] == [run.label, "marks"]]


def _await_end(world: World, run: _Run) -> None:
    try:
        poll(lambda: _state(world, run) in FINAL, timeout_s=END_WITHIN_S, why=f"run {run.id} does not end")
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *_unfinished(world, run)])) from None


def _unfinished(world: World, run: _Run) -> Iterator[str]:
    """The histories of the tasks for which a run waits."""
    query = {"tag_key": "wes.run_id", "tag_value": run.id, "page_size": "100"}
    for task in world.server.client.get("/ga4gh/tes/v1/tasks", params=query).json()["tasks"]:
        if task["state"] not in FINAL:
            yield world.server.client.get(f"{_TESP}/tasks/{task['id']}/history").text


def _check(world: World, run: _Run) -> None:
    """It is COMPLETE, with the right output and each step run once; when it is deleted nothing is left."""
    client, steps = world.server.client, [*WORDS, "gather"]
    shown = client.get(f"{_WES}/runs/{run.id}").json()
    assert shown["state"] == "COMPLETE", shown["run_log"]
    assert Counter(_begun(world, run)) == Counter(steps)
    got = client.get(shown["outputs"]["all"]["location"]).text
    assert got == "".join(f"said by {word}\n" for word in WORDS), got
    tasks = client.get(f"{_WES}/runs/{run.id}/tasks").json()["task_logs"]
    assert len(tasks) == len(steps), tasks
    assert client.delete(f"{_TESP}/runs/{run.id}").status_code == 204
    why = f"run {run.id} is deleted, and something is left of it"
    poll(lambda: not _is_there(world, run), timeout_s=END_WITHIN_S, why=why)


def _is_there(world: World, run: _Run) -> bool:
    query = {"tag_key": "wes.run_id", "tag_value": run.id}
    tasks = world.server.client.get("/ga4gh/tes/v1/tasks", params=query).json()["tasks"]
    return bool(tasks) or (world.work / run.id).exists()
