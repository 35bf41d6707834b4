"""What a workflow run costs above its tasks: a scatter of trivial steps, beside the same tasks in TES.

`python -m bench.wes [--json] [--steps 50] [--rounds 5] [--engine script|cwl]`

The tasks are submitted one by one, eight at a time, and waited for by polling each; a round of a run is
counted from its submission to the end that is seen by polling its status. With `cwl`, both sides run what the
CWL engine makes of a scatter: the tasks are those of an earlier run, created once more.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.report import print_report
from tests.acceptance.workflow_runs import SCRIPTED, step, submit, tasks, wait
from tests.services.cwl_engine import engines_folder
from tests.services.tesp import FINAL, ONLY_BUBBLEWRAP, TespServer

_SUBMITTERS = 8
_POLL_S = 0.02
_SCATTER = """cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}}
inputs: {words: "string[]"}
outputs: {}
steps:
  say:
    scatter: word
    in: {word: words}
    out: []
    run:
      class: CommandLineTool
      baseCommand: "true"
      inputs: {word: {type: string, inputBinding: {}}}
      outputs: {}
"""


def main() -> None:
    """Start a server, measure both in turn, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", choices=["script", "cwl"], default="script")
    options = parser.parse_args()
    environment = dict(ONLY_BUBBLEWRAP)
    if options.engine == "cwl":
        environment["TESP_API_WES__ENGINES_DIR"] = str(engines_folder())
    app = SCRIPTED if options.engine == "script" else "tesp_api.tesp_api:app"
    with TespServer(environment, app=app) as server:
        runs = _script if options.engine == "script" else _cwl
        _report(server, runs, options.steps, options.rounds)


def _report(server: TespServer, runs: Callable[[TespServer, int], str], steps: int, rounds: int) -> None:
    documents = [_as_new(task) for task in tasks(server, _ended(server, runs(server, steps)))]
    took: dict[str, list[float]] = {"tasks": [], "run": []}
    for _ in range(rounds):
        began = time.monotonic()
        _run_tasks(server, documents)
        took["tasks"].append(time.monotonic() - began)
        began = time.monotonic()
        _ended(server, runs(server, steps))
        took["run"].append(time.monotonic() - began)
    medians = {name: statistics.median(times) for name, times in took.items()}
    ratio = medians["run"] / medians["tasks"]
    figures = {f"{name}_s": value for name, value in medians.items()}
    print_report("wes", figures, {"run_over_tasks": round(ratio, 3)})


def _run_tasks(server: TespServer, documents: Sequence[Mapping[str, Any]]) -> None:
    with ThreadPoolExecutor(_SUBMITTERS) as pool:
        waiting = list(pool.map(server.create, documents))
    while waiting:
        waiting = [one for one in waiting if server.get(one, "MINIMAL")["state"] not in FINAL]
        time.sleep(_POLL_S)


def _script(server: TespServer, steps: int) -> str:
    return submit(server, [step("s", "true", scatter=steps)])


def _cwl(server: TespServer, steps: int) -> str:
    fields = {
        "workflow_type": "CWL",
        "workflow_type_version": "v1.2",
        "workflow_url": "w.cwl",
        "workflow_params": json.dumps({"words": [str(number) for number in range(steps)]}),
    }
    files = [("workflow_attachment", ("w.cwl", _SCATTER.encode()))]
    answer = server.client.post("/ga4gh/wes/v1/runs", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def _ended(server: TespServer, run_id: str) -> str:
    run = wait(server, run_id, timeout_s=600)
    assert run["state"] == "COMPLETE", run["run_log"]
    return run_id


def _as_new(task: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a task without what names the run: its files go nowhere."""
    return {name: task[name] for name in ("name", "executors", "resources", "volumes") if name in task}


if __name__ == "__main__":
    main()
