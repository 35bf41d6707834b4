"""What clients see of runs: plain JSON, with no nulls. Times are as WES wants them: whole seconds, UTC.

`base` is the URL of this server as the client calls it, without a slash at the end.
Source: WES 1.1, RunLog, RunSummary, TaskLog.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from tesp_api.storage.work_places import is_below
from tesp_api.store.base import Task
from tesp_api.store.runs import Run, StepRecord
from tesp_api.tes.states import FINAL
from tesp_api.tes.urls import local_path, url_fault
from tesp_api.worker.urls import split_s3

WES = "/ga4gh/wes/v1"
TES = "/ga4gh/tes/v1"
TESP = "/tesp/v1"
LOG_LIMIT_BYTES = 8 * 1024**2

Json = dict[str, Any]


def wes_time(moment: datetime) -> str:
    """An aware `moment` as `2026-01-31T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_summary(run: Run) -> Json:
    """A run in a list."""
    return {
        "run_id": run.id,
        "state": str(run.state),
        **_times(run),
        "tags": dict(run.request.get("tags") or {}),
    }


def run_log(run: Run, task_logs: Sequence[Json], base: str) -> Json:
    """All of a run; `task_logs` are those of its first steps."""
    logs = f"{base}{TESP}/runs/{run.id}/logs"
    untold = outputs_fault(run.outputs)
    log: Json = {
        "name": run.request["workflow_url"],
        **_times(run),
        "stdout": f"{logs}/stdout",
        "stderr": f"{logs}/stderr",
        "system_logs": [*run.system_logs, *([untold] if untold else [])],
    }
    if run.exit_code is not None:
        log["exit_code"] = run.exit_code
    return {
        "run_id": run.id,
        "request": dict(run.request),
        "state": str(run.state),
        "run_log": log,
        "task_logs_url": f"{base}{WES}/runs/{run.id}/tasks",
        "task_logs": list(task_logs),
        "outputs": {} if untold else shown_outputs(run.outputs, base, work_base_of(run)),
    }


def task_log(step: StepRecord, task: Task | None, base: str) -> Json:
    """A step; `task` is None if that was deleted."""
    told = [f"taken over from run {step.reused_from}"] if step.reused_from else []
    shown: Json = {"id": step.task_id, "name": step.name}
    if task is None:
        return shown | {"system_logs": [*told, "it has no task: that was deleted, or could not be made"]}
    attempt = task.logs[-1] if task.logs else {}
    ended = [one for one in attempt.get("logs", ()) if one.get("exit_code") is not None]
    last = max(0, len(ended) - 1)
    logs = f"{base}{TESP}/tasks/{task.id}/logs/{last}"
    shown |= {
        "cmd": list(task.request["executors"][last]["command"]),
        "stdout": f"{logs}/stdout?limit={LOG_LIMIT_BYTES}",
        "stderr": f"{logs}/stderr?limit={LOG_LIMIT_BYTES}",
        "system_logs": [
            f"the task is {task.state}",
            *told,
            *task.warnings,
            *attempt.get("system_logs", ()),
        ],
        "tes_uri": f"{base}{TES}/tasks/{task.id}",
    }
    for name in ("start_time", "end_time"):
        if attempt.get(name):
            shown[name] = wes_time(datetime.fromisoformat(attempt[name]))
    if ended:
        failed = next((one["exit_code"] for one in ended if one["exit_code"] != 0), 0)
        shown["exit_code"] = failed if task.state in FINAL else ended[-1]["exit_code"]
    return shown


def outputs_fault(outputs: Any) -> str:
    """Why no client can be told of these outputs; "" if one can. A run with such outputs ends SYSTEM_ERROR;
    those that an older server let end otherwise are shown without any."""
    try:
        if not isinstance(outputs, Mapping):
            raise ValueError(f"they must be an object, not {type(outputs).__name__}")
        json.dumps(dict(outputs), allow_nan=False)
        to_json({"outputs": outputs})
    except (TypeError, ValueError, RecursionError) as error:
        said = str(error).encode("ascii", "backslashreplace").decode()
        return f"the outputs of the workflow cannot be told as JSON: {said[:300]}"
    return ""


def shown_outputs(outputs: Mapping[str, Any], base: str, work_base: str) -> Json:
    """The outputs, with the files in work storage told by URLs that the client can get."""
    shown: Json = with_urls(dict(outputs), lambda url: file_url(url, base, work_base))
    return shown


def work_base_of(run: Run) -> str:
    """The folder of all runs' folders, when this one was made."""
    return run.work_url.removesuffix(f"{run.id}/")


def file_url(url: str, base: str, work_base: str) -> str:
    """Where a client gets a file in work storage; any other text stays as it is."""
    if not url.startswith(("file://", "s3://")) or not is_below(url, work_base):
        return url
    run_id, _, name = relative_path(url, work_base).partition("/")
    return f"{base}{TESP}/runs/{run_id}/files/{quote(name, errors='surrogateescape')}"


def run_in(url: str, work_base: str) -> str:
    """The id of the run in whose folder a file in work storage lies; "" for any other text."""
    if not url.startswith(("file://", "s3://")) or url_fault(url) or not is_below(url, work_base):
        return ""
    return relative_path(url, work_base).partition("/")[0]


def relative_path(url: str, folder_url: str) -> str:
    """The path of a file beneath a folder, by their URLs, not percent-encoded."""
    folder, path = local_path(folder_url), local_path(url)
    if folder is not None and path is not None:
        return path[len(folder) :].lstrip("/")
    return split_s3(url)[1].removeprefix(split_s3(folder_url)[1])


def with_urls(value: Any, shown: Callable[[str], str]) -> Any:
    """The value with every text in it as it is `shown`."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, list):
        return [with_urls(item, shown) for item in value]
    if isinstance(value, dict):
        return {key: with_urls(item, shown) for key, item in value.items()}
    return value


def _times(run: Run) -> Json:
    times: Json = {}
    if run.started_at is not None:
        times["start_time"] = wes_time(run.started_at)
    if run.ended_at is not None:
        times["end_time"] = wes_time(run.ended_at)
    return times
